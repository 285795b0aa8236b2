"""The facts of a report in words and numbers, as the terminal and the page show them."""

from search.check.judgement import Report, plural
from search.check.resources import gb
from search.show.styles import Table
from search.text import duration

LENGTHS = ("", "min", "5 %", "median", "95 %", "max", "limit", "close", "above")
SPEAKERS = ("", "train", "time", "eval", "time")
LETTERS = ("letter", "code point", "name", "count", "clips", "an example")


def tables(report: Report) -> list[Table]:
    """Those that have rows, in their order."""
    found = [
        Table("Data", (), parts(report)),
        Table("Speakers", SPEAKERS, speakers(report), range(1, 5)),
        Table("Lengths", LENGTHS, lengths(report), range(1, 9)),
        Table("Letters without a token", LETTERS, letters(report), (3, 4)),
        Table("Training", (), training(report)),
        Table("Memory of a training process", (), memory(report)),
        Table("Machine", (), machine(report)),
    ]
    return [table for table in found if table.rows]


def letters(report: Report) -> list[tuple[str, ...]]:
    """Rows of LETTERS."""
    return [
        (each.character, each.code_points, each.name, f"{each.count:,}", f"{each.clips:,}", each.example.split("/")[-1])
        for each in report.letters
    ]


def parts(report: Report) -> list[tuple[str, str]]:
    """(part, its clips and time), and the kinds of audio files."""
    total = sum(part.clips for part in report.parts) or 1
    pairs = []
    for part in report.parts:
        out = f"; {part.dropped:,} left out" if part.dropped else ""
        share = f"{part.clips / total:.0%} of the clips"
        pairs.append((part.name, f"{part.clips:,} clips, {duration(part.seconds)} ({share}){out}"))
    return pairs + ([("files", _sound(report))] if report.sound.kinds else [])


def training(report: Report) -> list[tuple[str, str]]:
    course = report.course
    if not course.steps_an_epoch:
        return []
    trial = f"{course.trial_steps:,} steps, {course.trial_epochs:.1f} epochs, {course.evaluations} evaluations"
    trial = trial if course.trial_steps else "too short"
    drawn = f"batches of {course.batch_size} clips, {course.accumulation} per step"
    return [
        ("epoch", f"{course.steps_an_epoch:,} optimizer steps ({drawn})"),
        ("trial", trial),
        ("full run", f"{course.full_steps:,} steps, {course.full_epochs:.1f} epochs"),
    ]


def memory(report: Report) -> list[tuple[str, str]]:
    """(what, how much) of a training process, the total last."""
    found = report.memory
    if found is None:
        return []
    batch = found.batch
    drawn = f"{batch.clips} clips, {batch.text_tokens} text tokens, {batch.codes} codes, {found.precision}"
    rows = [
        ("weights", gb(found.weights)),
        ("gradients", gb(found.gradients)),
        ("AdamW", gb(found.optimizer)),
        ("activations", f"{gb(found.activations)} ({drawn})"),
        ("transient", gb(found.transient)),
    ]
    if found.context:
        rows.append(("CUDA context", gb(found.context)))
    return [*rows, ("total", f"{gb(found.peak)}, computed")]


def machine(report: Report) -> list[tuple[str, str]]:
    found = report.machine
    gpus = ", ".join(f"{gpu.name} ({gb(gpu.memory)})" if gpu.memory else gpu.name for gpu in found.gpus) or "none"
    return [
        ("processors", str(found.cpus)),
        ("memory", gb(found.memory)),
        ("GPUs", gpus),
        ("cache", f"{gb(found.cache_free)} free at {found.cache}"),
        ("study", f"{gb(found.study_free)} free at {found.study}"),
    ]


def lengths(report: Report) -> list[tuple[str, ...]]:
    """(part and what, shortest, 5 %, median, 95 %, longest, limit, close to it, above it)."""
    rows = []
    for found in report.lengths:
        if not found.clips:
            continue
        digits = 1 if found.what == "audio" else 0
        numbers = tuple(f"{value:.{digits}f}" for value in found.quantiles.values())
        name = f"{found.part}, {'s' if found.what == 'audio' else 'tokens'}"
        rows.append((name, *numbers, f"{found.limit:g}", f"{found.close:,}", f"{found.above:,}"))
    return rows


def speakers(report: Report) -> list[tuple[str, ...]]:
    """Rows of SPEAKERS: who has most training audio first."""
    ordered = sorted(report.speakers, key=lambda speaker: -speaker.train_seconds)
    parts = [(s.name, (s.train_clips, s.train_seconds), (s.eval_clips, s.eval_seconds)) for s in ordered]
    return [(name or "(none)", *(t for n, s in of for t in (f"{n:,}", duration(s)))) for name, *of in parts]


def _sound(report: Report) -> str:
    """The kinds of files, the most frequent first."""
    channels = {1: "mono", 2: "stereo"}
    kinds = [f"{n:,} at {rate:,} Hz {channels.get(c, f'{c} channels')}" for rate, c, n in report.sound.kinds[:6]]
    more = len(report.sound.kinds) - 6
    return ", ".join(kinds) + (f" and {more} other kinds" if more > 0 else "")


def short(line: str, root: str) -> str:
    """A line with file names as in the table, without the folder of the data."""
    return line.replace(f"{root}/", "") if root else line


def verdict(report: Report) -> str:
    """The report in a sentence."""
    counts = {level: len(report.of(level)) for level in ("error", "warning")}
    said = ", ".join(plural(n, level) for level, n in counts.items() if n) or "no errors or warnings"
    return f"{said}: a search would {'not start' if counts['error'] else 'start'}"
