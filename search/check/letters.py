"""Signs of the texts that the base's vocabulary has no token for."""

import unicodedata
from collections import Counter

from search.check.judgement import Finding, Letter, clips, plural
from search.check.survey import Survey
from search.settings.settings import Settings

AREA = "letters"
RARE = 5  # occurrences below which a new token is hardly trained: each is seen so often an epoch


def lacking(survey: Survey) -> list[Letter]:
    """The letters without a token, the commonest first. Counted in NFC and lower case, as they are tokenised."""
    rows, signs, example = Counter[str](), Counter[str](), dict[str, str]()
    for row in survey.rows:
        letters = [letter for letter in dict.fromkeys(row.unknown) if not is_tag(letter)]
        if not letters:
            continue
        text = unicodedata.normalize("NFC", row.text).lower()
        for letter in letters:
            rows[letter] += 1
            signs[letter] += max(1, text.count(letter))
            example.setdefault(letter, row.audio_file)
    for letter in survey.missing:  # of texts that are dropped for another reason
        if not is_tag(letter) and letter not in rows:
            rows[letter] = signs[letter] = 0
    found = [
        Letter(letter, code_points(letter), name(letter), count, rows[letter], example.get(letter, ""))
        for letter, count in signs.items()
    ]
    return sorted(found, key=lambda letter: (-letter.count, letter.character))


def is_tag(token: str) -> bool:
    """Whether it is a language's token, like [am]."""
    return len(token) > 2 and token.startswith("[") and token.endswith("]")


def code_points(text: str) -> str:
    return " ".join(f"U+{ord(sign):04X}" for sign in text)


def name(text: str) -> str:
    """The Unicode name of each sign."""
    return ", ".join(unicodedata.name(sign, _nameless(sign)) for sign in text)


def _nameless(sign: str) -> str:
    kinds = {"Cc": "control character", "Co": "private use", "Cn": "not assigned", "Cs": "half of a pair"}
    return kinds.get(unicodedata.category(sign), "without a name")


def judge(settings: Settings, survey: Survey, letters: list[Letter]) -> list[Finding]:
    """An error when the vocabulary lacks something and may not grow; else an info, and a warning for rare letters."""
    if not survey.missing:
        return []
    shown = " ".join(survey.missing[:20]) + (" …" if len(survey.missing) > 20 else "")
    tokens = plural(len(survey.missing), "token")
    if not settings.base.extend_vocabulary:
        return [
            Finding(
                "error",
                AREA,
                f"the base's vocabulary lacks {tokens}: {shown}; base.extend_vocabulary is off",
                "turn it on, or extend the base",
                _examples(letters),
            )
        ]
    findings = [
        Finding(
            "info",
            AREA,
            f"the base's vocabulary lacks {tokens}: {shown}; they are appended to it, with new rows to be learnt",
            "",
            _examples(letters),
        )
    ]
    rare = [letter for letter in letters if letter.count < RARE]
    if rare:
        few = " ".join(letter.character for letter in rare[:20]) + (" …" if len(rare) > 20 else "")
        findings.append(
            Finding(
                "warning",
                AREA,
                f"{plural(len(rare), 'new letter')} with fewer than {RARE} occurrences, hardly to be learnt: {few}",
                "look for typing errors and for signs of another script",
                _examples(rare),
            )
        )
    return findings


def _examples(letters: list[Letter]) -> list[tuple[str, str]]:
    return [
        (
            letter.example,
            f"{letter.character} {letter.code_points} {letter.name}, {letter.count} in {clips(letter.clips)}",
        )
        for letter in letters
    ]
