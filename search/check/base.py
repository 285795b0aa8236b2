"""Whether the base fits the settings and the language."""

from search.check.judgement import Finding, few
from search.check.survey import Survey
from search.settings.settings import Settings

AREA = "base"


def judge(settings: Settings, survey: Survey) -> list[Finding]:
    """An error for a base that training would refuse; infos on the language."""
    base = survey.base
    if base.error:
        step = "" if ";" in base.error else "set base.path to another XTTS base"
        return [Finding("error", AREA, " ".join(base.error.split()), step)]
    language = settings.data.language
    if not base.language_listed:
        message = (
            f"coqui's tokenizer has no rules for {language!r}: its own training code would silently drop every clip."
            " They are used here, with texts converted to NFC, lower case and single spaces"
        )
        return [Finding("info", AREA, message, "write numbers and abbreviations as words")]
    if base.languages and language not in base.languages:
        known = few(base.languages, ", ")
        return [Finding("info", AREA, f"the base does not know the language {language!r}; it knows {known}")]
    return []
