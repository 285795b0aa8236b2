"""Whether the base fits the settings and the language."""

from search.check.judgement import Finding
from search.check.survey import BaseFacts, Survey
from search.settings.settings import Settings

AREA = "base"


def judge(settings: Settings, survey: Survey) -> list[Finding]:
    """Errors for a base that training would refuse or misread; infos on the language."""
    base = survey.base
    if base.error:
        return [Finding("error", AREA, _line(base.error), "give base.path another XTTS base")]
    return [*_vocabulary(base), *_positions(settings, base), *_language(settings, base)]


def _vocabulary(base: BaseFacts) -> list[Finding]:
    findings = []
    if base.rows != base.tokens:
        findings.append(
            Finding(
                "error",
                AREA,
                f"model.pth has {base.rows:,} rows of text embedding, vocab.json has {base.tokens:,} tokens",
                "take the two files from the same base, or extend the original base again",
            )
        )
    for name, token in (("[START]", base.start), ("[STOP]", base.stop)):
        if token is None:
            findings.append(
                Finding("error", AREA, f"vocab.json has no {name}: it is no XTTS vocabulary", "take the base's own")
            )
        elif token >= base.rows:
            message = f"{name} has the id {token:,}, and the text embedding {base.rows:,} rows"
            findings.append(Finding("error", AREA, message, "take vocab.json and model.pth from the same base"))
    return findings


def _positions(settings: Settings, base: BaseFacts) -> list[Finding]:
    """The model has a learned vector for each position: what is longer cannot be trained."""
    data, findings = settings.data, []
    if data.max_audio_seconds > base.max_audio_seconds > 0:
        message = f"data.max_audio_seconds is {data.max_audio_seconds}; the base has {base.max_audio_seconds:.1f} s"
        findings.append(Finding("error", AREA, message, f"set it to {int(10 * base.max_audio_seconds) / 10} or less"))
    if data.max_text_tokens > base.max_text_tokens > 0:
        message = f"data.max_text_tokens is {data.max_text_tokens}; the base has {base.max_text_tokens} positions"
        findings.append(Finding("error", AREA, message, f"set it to {base.max_text_tokens} or less"))
    return findings


def _language(settings: Settings, base: BaseFacts) -> list[Finding]:
    language, findings = settings.data.language, []
    if not base.language_listed:
        findings.append(
            Finding(
                "info",
                AREA,
                f"coqui's tokenizer has no rules for {language!r}: its own training code would drop every clip in"
                " silence. Here such texts are brought to NFC, lower case and single spaces, and are trained on",
                "spell out numbers and abbreviations yourself",
            )
        )
    elif base.languages and language not in base.languages:
        findings.append(
            Finding("info", AREA, f"the base does not know the language {language!r}; it knows {_few(base.languages)}")
        )
    return findings


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")


def _line(text: str) -> str:
    return " ".join(text.split())
