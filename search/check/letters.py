"""Letters of the texts that the base's vocabulary has no token for."""

import unicodedata
from collections import Counter
from collections.abc import Iterator

from search.check.judgement import Finding, Letter, clips, few, plural
from search.check.survey import Survey
from search.settings.sections import MINIATURE
from search.settings.settings import Settings

AREA = "letters"
RARE = 5  # occurrences per epoch, below which a new token is hardly trained
_NAMELESS = {"Cc": "control character", "Co": "private use", "Cn": "not assigned", "Cs": "half of a pair"}


def lacking(survey: Survey) -> list[Letter]:
    """The letters without a token, the most frequent first. Counted in NFC and lower case, as they are tokenised."""
    rows, signs, example = Counter[str](), Counter[str](), dict[str, str]()
    for row in survey.rows:
        text = unicodedata.normalize("NFC", row.text).lower() if row.unknown else ""
        for letter in dict.fromkeys(row.unknown):
            rows[letter] += 1
            signs[letter] += max(1, text.count(letter))
            example.setdefault(letter, row.audio_file)
    # Some are only in texts that are dropped for another reason.
    letters = [token for token in {**signs, **dict.fromkeys(survey.missing)} if len(token) == 1]  # no tag like [am]
    found = [
        Letter(sign, f"U+{ord(sign):04X}", name(sign), signs[sign], rows[sign], example.get(sign, ""))
        for sign in letters
    ]
    return sorted(found, key=lambda letter: (-letter.count, letter.character))


def name(letter: str) -> str:
    """Of Unicode."""
    return unicodedata.name(letter, _NAMELESS.get(unicodedata.category(letter), "without a name"))


def judge(settings: Settings, survey: Survey, letters: list[Letter]) -> Iterator[Finding]:
    """An error when the vocabulary lacks something and may not grow; else an info, and a warning for rare letters."""
    if not survey.missing:
        return
    lacks = f"the base's vocabulary lacks {plural(len(survey.missing), 'token')}: {few(survey.missing)}"
    if not settings.base.extend_vocabulary:
        message, step = f"{lacks}; base.extend_vocabulary is off", "turn it on, or extend the base"
        yield Finding("error", AREA, message, step, _examples(letters))
        return
    yield Finding("info", AREA, f"{lacks}; they are added and trained as new rows", "", _examples(letters))
    rare = [letter for letter in letters if letter.count < RARE]
    if rare:
        shown = few(letter.character for letter in rare)
        message = f"{plural(len(rare), 'new letter')} with fewer than {RARE} occurrences will hardly be learnt: {shown}"
        # The miniature speaks words of a fixed list: none of its letters is a mistake, and it is small on purpose.
        is_generated = settings.data.path == MINIATURE
        step = "" if is_generated else "look for typing errors and for letters of another script"
        yield Finding("info" if is_generated else "warning", AREA, message, step, _examples(rare))


def _examples(letters: list[Letter]) -> list[tuple[str, str]]:
    return [(e.example, f"{e.character} {e.code_points} {e.name}, {e.count} in {clips(e.clips)}") for e in letters]
