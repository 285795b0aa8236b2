"""Whether the base fits the settings and the language."""

from collections.abc import Collection, Iterator

from search.check.judgement import Finding, few
from search.check.survey import BaseFacts, Survey
from search.settings import languages
from search.settings.settings import Settings

AREA = "base"


def judge(settings: Settings, survey: Survey) -> Iterator[Finding]:
    """Errors for a base that training would refuse or misread, and for a code that is no language's; infos on it."""
    base = survey.base
    if base.error:
        step = "" if ";" in base.error else "set base.path to another XTTS base"
        yield Finding("error", AREA, " ".join(base.error.split()), step)
    else:
        yield from _language(settings.data.language, base)


def wrong_language(code: str, known: Collection[str]) -> tuple[str, str] | None:
    """(what is wrong with the code of a language, the next step); None for a language, and for what the base knows."""
    if code in known or languages.is_language(code):
        return None
    meant = " or ".join(map(languages.described, languages.meant(code, known)))
    other = f"set the ISO 639 code of the language; the base knows {few(sorted(known), ', ')}"
    return f"data.language {code!r} is not a language code", f"did you mean {meant}?" if meant else other


def _language(given: str, base: BaseFacts) -> Iterator[Finding]:
    known, code = {*base.languages, *([base.language] if base.language_tag else [])}, base.language or given
    if wrong := wrong_language(given, known):
        yield Finding("error", AREA, *wrong)
        return
    if given in base.languages and base.language_listed:
        return
    name = languages.described(code)
    if code != given:
        message = f"data.language {languages.described(given)} is trained as {code!r}"
        yield Finding(
            "info", AREA, message + (", the base's code for it" if code in known else ", the code in use today")
        )
    if other := languages.confused(given, known):
        message = f"data.language {languages.described(given)} is not the code of {languages.name(other)}"
        step = f"set data.language to {other!r} if the texts are {languages.name(other)}"
        yield Finding("warning", AREA, message, step)
    if not base.language_listed:
        message = (
            f"coqui's tokenizer has no rules for {name}: its own training code would silently drop every clip."
            " They are used here, with texts converted to NFC, lower case and single spaces"
        )
        yield Finding("info", AREA, message, "write numbers and abbreviations as words")
    elif base.languages and code not in base.languages:
        message = f"the base does not know the language {name}; it knows {few(base.languages, ', ')}"
        yield Finding("info", AREA, message)
