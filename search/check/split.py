"""Whether evaluation measures what it should: its size, and what it shares with training."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from search.check.judgement import Finding, about, clips, plural
from search.check.survey import Row, Survey
from search.settings.settings import Settings

AREA = "split"
HEALTHY = (0.10, 0.15)  # usual share of the clips that are for evaluation
FEW = 20  # eval clips below which an evaluation is noise
ENOUGH = 200  # eval clips with which a small share does no harm
BROKEN = 0.5  # share of the eval clips also in training, from which the evaluation measures nothing
_TAKE = re.compile(r"^(?P<source>.*?[^\W_].*?)[-_. ]+0*\d+$")  # rec1_001, LJ001-0002: a source and the number of a take


def judge(settings: Settings, survey: Survey) -> Iterator[Finding]:
    """An error when most of eval was trained on; warnings for leaks, repeats and sizes."""
    train, held_out = survey.part("train"), survey.part("eval")
    if not train or not held_out:
        return  # which is an error of its own

    def digest(row: Row) -> str:
        return survey.recordings[row.audio_file].digest

    yield from _size(settings, train, held_out)
    leaks, what = _shared(train, held_out, digest), "of eval with the same audio as a clip of training"
    step = "delete them from one of the two"
    if len(leaks) < BROKEN * len(held_out):
        yield from about(AREA, leaks, what, step)
    else:
        what += f": {len(leaks) / len(held_out):.0%} of the evaluation measures memory"
        yield from about(AREA, leaks, what, step, "error")
    same_text = _shared(train, held_out, lambda row: plain(row.text))
    step = "hold such sentences out of one of the two"
    yield from about(AREA, same_text, "of eval with the text of a clip of training", step)
    yield from _same_source(train, held_out)
    yield from _repeats(train, digest)
    yield from _speakers(train, held_out)


def _size(settings: Settings, train: list[Row], held_out: list[Row]) -> Iterator[Finding]:
    share = len(held_out) / (len(train) + len(held_out))
    field = "data.eval" if settings.data.eval else "data.eval_share"
    if len(held_out) < FEW:
        message = f"only {clips(len(held_out))} for evaluation: close trials will be ranked by chance"
        yield Finding("warning", AREA, message, f"hold out {FEW} or more with {field}")
    if share > HEALTHY[1] or (share < HEALTHY[0] and len(held_out) < ENOUGH):
        message = f"{share:.1%} of the clips are for evaluation; 10-15 % is usual"
        is_far = not HEALTHY[0] / 2 <= share <= 2 * HEALTHY[1]
        yield Finding("warning" if is_far else "info", AREA, message, f"see {field}")


def _shared(train: list[Row], held_out: list[Row], key: Callable[[Row], str]) -> list[tuple[str, str]]:
    """Eval clips with the same `key` as a clip of training, named in the detail; an empty key is none."""
    trained: dict[str, str] = {}
    for row in train:
        trained.setdefault(key(row), row.audio_file)
    keys = ((row.audio_file, key(row)) for row in held_out)
    return [(file, f"in training: {trained[found]}") for file, found in keys if found and found in trained]


def plain(text: str) -> str:
    """What is said in a text: NFKC, case folded, letters, marks and digits with single spaces."""
    signs = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in signs).split())


def source(file: str) -> str | None:
    """The recording that a clip was cut from, by its name; None where the name does not tell.

    `rec1_001.wav` and `rec1_002.wav` are of `rec1`: a name, a separator, a number. Other folders are other recordings.
    """
    path = Path(file)
    take = _TAKE.match(path.stem)
    return str(path.parent / take["source"]) if take else None


def _same_source(train: list[Row], held_out: list[Row]) -> Iterator[Finding]:
    """Eval clips that were cut from a recording that training clips were cut from, too.

    Names tell this only where they divide each speaker's clips: at least three recordings of two clips on average, and
    more recordings than speakers (or the name is that of the speaker). If it holds for more than half of eval, the
    split was made clip by clip, which is an info; otherwise it was made by recording, and a clip has strayed.
    """
    sources = {row.audio_file: found for row in (*train, *held_out) if (found := source(row.audio_file))}
    counts, speakers = Counter(sources.values()), {row.speaker for row in (*train, *held_out)}
    if len(counts) < max(3, len(speakers) + 1) or sum(counts.values()) < 2 * len(counts):
        return
    trained = {sources[row.audio_file] for row in train if row.audio_file in sources}
    same = [(row.audio_file, "") for row in held_out if sources.get(row.audio_file) in trained]
    what = "of eval that, by name, were cut from the same recordings as training clips"
    if len(same) <= 0.5 * len(held_out):
        yield from about(AREA, same, what, "hold out whole recordings")
    else:
        message = f"{clips(len(same))} {what}: the evaluation does not tell how well new recordings are met"
        yield Finding("info", AREA, message, "hold out whole recordings with a data.eval of your own")


def _repeats(train: list[Row], digest: Callable[[Row], str]) -> Iterator[Finding]:
    """Audio that is in training more than once."""
    by_audio: dict[str, list[Row]] = defaultdict(list)
    for row in train:
        by_audio[digest(row)].append(row)
    by_audio.pop("", None)
    found: dict[bool, list[tuple[str, str]]] = {True: [], False: []}  # by whether the texts differ
    for first, *others in by_audio.values():
        if others:
            is_other = any(plain(row.text) != plain(first.text) for row in others)
            found[is_other].append((first.audio_file, "also " + ", ".join(row.audio_file for row in others)))
    what = "in training with different texts, of which at most one is right"
    yield from about(AREA, found[True], what, "listen, and keep the right text", noun="recording")
    what = "more than once in training with the same text"
    yield from about(AREA, found[False], what, "delete the repeats", noun="recording")


def _speakers(train: list[Row], held_out: list[Row]) -> Iterator[Finding]:
    unseen = sorted({row.speaker for row in held_out} - {row.speaker for row in train})
    if unseen:
        files = [(row.audio_file, row.speaker) for row in held_out if row.speaker in unseen]
        message = f"{plural(len(unseen), 'eval speaker')} not in training: {', '.join(unseen[:10])}"
        yield Finding("warning", AREA, message, "evaluate the voices that are trained", files)
