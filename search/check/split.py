"""Whether evaluation measures what it should: its size, and what it shares with training."""

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

from search.check.judgement import Finding, clips, plural
from search.check.survey import Row, Survey
from search.settings.settings import Settings

AREA = "split"
HEALTHY = (0.10, 0.15)  # eval share that is usual
FEW = 20  # eval clips below which an evaluation is noise
ENOUGH = 200  # eval clips with which a small share does no harm
BROKEN = 0.5  # share of the eval clips that also stand in training, from which the evaluation measures nothing
_TAKE = re.compile(r"^(?P<source>.*?[^\W_].*?)[-_. ]+0*\d+$")  # rec1_001, LJ001-0002: a source and the number of a take


def judge(settings: Settings, survey: Survey) -> list[Finding]:
    """An error when most of eval was trained on; warnings for leaks, repeats and sizes."""
    train, held_out = survey.part("train"), survey.part("eval")
    if not train or not held_out:
        return []  # which is an error of its own
    return [
        *_size(settings, train, held_out),
        *_same_audio(survey, train, held_out),
        *_same_text(train, held_out),
        *_same_source(train, held_out),
        *_repeats(survey, train),
        *_speakers(train, held_out),
    ]


def _size(settings: Settings, train: list[Row], held_out: list[Row]) -> list[Finding]:
    share, findings = len(held_out) / (len(train) + len(held_out)), []
    field = "data.eval" if settings.data.eval else "data.eval_share"
    if len(held_out) < FEW:
        message = f"an evaluation of {clips(len(held_out))} is noise: the order of close trials will be chance"
        findings.append(Finding("warning", AREA, message, f"hold out {FEW} or more by {field}"))
    if not HEALTHY[0] <= share <= HEALTHY[1] and not (share < HEALTHY[0] and len(held_out) >= ENOUGH):
        level = "warning" if not HEALTHY[0] / 2 <= share <= 2 * HEALTHY[1] else "info"
        message = f"{share:.1%} of the clips are for evaluation; 10-15 % is usual"
        findings.append(Finding("warning" if level == "warning" else "info", AREA, message, f"see {field}"))
    return findings


def _same_audio(survey: Survey, train: list[Row], held_out: list[Row]) -> list[Finding]:
    trained: dict[str, str] = {}
    for row in train:
        trained.setdefault(_digest(survey, row), row.audio_file)
    trained.pop("", None)
    leaks = [(row, trained[d]) for row in held_out if (d := _digest(survey, row)) in trained]
    if not leaks:
        return []
    broken = len(leaks) >= BROKEN * len(held_out)
    message = f"{clips(len(leaks))} of eval with the same audio as a clip of training"
    return [
        Finding(
            "error" if broken else "warning",
            AREA,
            message + (f": {len(leaks) / len(held_out):.0%} of the evaluation measures memory" if broken else ""),
            "delete them from one of the two",
            [(row.audio_file, f"in training: {other}") for row, other in leaks],
        )
    ]


def _same_text(train: list[Row], held_out: list[Row]) -> list[Finding]:
    trained: dict[str, str] = {}
    for row in train:
        trained.setdefault(plain(row.text), row.audio_file)
    same = [(row, trained[text]) for row in held_out if (text := plain(row.text)) in trained and text]
    if not same:
        return []
    message = f"{clips(len(same))} of eval with the text of a clip of training"
    files = [(row.audio_file, f"in training: {other}") for row, other in same]
    return [Finding("warning", AREA, message, "hold such sentences out of one of the two", files)]


def plain(text: str) -> str:
    """A text by what is said: NFKC, case folded, letters, marks and digits with single spaces."""
    signs = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in signs).split())


def source(file: str) -> str | None:
    """The recording that a clip was cut from, by its name; None where it does not tell.

    `rec1_001.wav` and `rec1_002.wav` are of `rec1`: a name, a separator, a number. Clips of other folders are others'.
    """
    path = Path(file)
    take = _TAKE.match(path.stem)
    return str(path.parent / take["source"]) if take else None


def _same_source(train: list[Row], held_out: list[Row]) -> list[Finding]:
    """Eval clips cut from a recording that training clips are cut from, too.

    Telling only where names divide each speaker's clips: at least three recordings, two clips each on average, and more
    than there are speakers (or the name is that of the speaker). Where more than half of eval is so, the split was made
    clip by clip, and that is an info; where less is so, it was meant to be by recording, and a clip has strayed.
    """
    sources = {row.audio_file: found for row in (*train, *held_out) if (found := source(row.audio_file))}
    counts, speakers = Counter(sources.values()), {row.speaker for row in (*train, *held_out)}
    if len(counts) < max(3, len(speakers) + 1) or sum(counts.values()) < 2 * len(counts):
        return []
    trained = {sources[row.audio_file] for row in train if row.audio_file in sources}
    same = [(row.audio_file, "") for row in held_out if sources.get(row.audio_file) in trained]
    if not same:
        return []
    if len(same) > 0.5 * len(held_out):
        message = (
            f"{clips(len(same))} of eval, by name, cut from recordings that training has clips of: the evaluation tells"
            " how well the same recordings are met, not new ones"
        )
        return [Finding("info", AREA, message, "hold out whole recordings by a data.eval of your own")]
    message = f"{clips(len(same))} of eval, by name, cut from a recording that training has clips of"
    return [Finding("warning", AREA, message, "hold out whole recordings", same)]


def _repeats(survey: Survey, train: list[Row]) -> list[Finding]:
    """Audio that stands twice in training."""
    by_audio: dict[str, list[Row]] = defaultdict(list)
    for row in train:
        by_audio[_digest(survey, row)].append(row)
    by_audio.pop("", None)
    twice = [rows for rows in by_audio.values() if len(rows) > 1]
    differing = [rows for rows in twice if len({plain(row.text) for row in rows}) > 1]
    same = [rows for rows in twice if rows not in differing]
    findings = []
    if differing:
        message = (
            f"{plural(len(differing), 'recording')} with more than one text in training, of which one at most is right"
        )
        findings.append(Finding("warning", AREA, message, "listen, and keep the right text", _groups(differing)))
    if same:
        message = f"{plural(len(same), 'recording')} more than once in training with the same text"
        findings.append(Finding("warning", AREA, message, "delete the repeats", _groups(same)))
    return findings


def _groups(groups: list[list[Row]]) -> list[tuple[str, str]]:
    return [(rows[0].audio_file, "also " + ", ".join(row.audio_file for row in rows[1:])) for rows in groups]


def _speakers(train: list[Row], held_out: list[Row]) -> list[Finding]:
    trained = {row.speaker for row in train}
    unseen = sorted({row.speaker for row in held_out} - trained)
    if not unseen:
        return []
    files = [(row.audio_file, row.speaker) for row in held_out if row.speaker in unseen]
    message = f"{plural(len(unseen), 'eval speaker')} not in training: {', '.join(unseen[:10])}"
    return [Finding("warning", AREA, message, "evaluate the voices that are trained", files)]


def _digest(survey: Survey, row: Row) -> str:
    recording = survey.recordings.get(row.audio_file)
    return recording.digest if recording else ""
