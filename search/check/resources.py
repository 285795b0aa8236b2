"""Whether memory, disk and processors suffice."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from search.check.judgement import Course, Finding, plural
from search.check.machine import Machine
from search.check.memory import FLOAT, Batch, Kind, Memory, Model, Probe, needed
from search.check.survey import Survey
from search.settings.settings import Settings

GB = 10**9
TIGHT = 0.92  # of a device's memory; the allocator's gaps take some of the rest
# Twice what a trial of the miniature leaves in its folder: 28 KB and 300 bytes a step, TensorBoard included.
TRIAL_BYTES, STEP_BYTES = 60_000, 600
EVALUATED_BYTES = 170_000  # of a clip in the evaluation batches: 80 mels of some 4.5 s at 86 a second, in float32
SPARE = 200 * 10**6  # bytes that a disk keeps free for logs and the database


def gb(count: float) -> str:
    return f"{count / GB:.1f} GB" if count >= GB / 10 else f"{count / 10**6:.0f} MB"


def batch(settings: Settings, survey: Survey) -> Batch | None:
    """The longest batch that training can draw; None without clips."""
    rows = survey.part("train")
    if not rows:
        return None
    codes = ceil(max(map(survey.seconds, rows)) * survey.sample_rate / survey.base.code_samples)
    frames = int(settings.conditioning_seconds[1] * survey.sample_rate) // 256 + 1
    return Batch(settings.training.batch_size, max(row.tokens for row in rows), codes, frames)


def model(survey: Survey) -> Model:
    """The base's sizes with the rows that are appended to its vocabulary."""
    gpt, more = survey.base.gpt, len(survey.missing)
    grown = more * (2 * gpt.width + 1)  # rows of the embedding and of the head, and the head's bias
    return replace(gpt, text_tokens=gpt.text_tokens + more, parameters=gpt.parameters + grown)


def memory(
    settings: Settings, survey: Survey, machine: Machine, probe: Probe | None
) -> tuple[Memory | None, list[Finding]]:
    """What a training process needs, and whether there is enough: measured by a probe, or else computed."""
    worst = batch(settings, survey)
    if survey.base.error or worst is None or not survey.base.gpt.parameters:
        return None, []
    kind: Kind = "cuda" if machine.gpus else "cpu"
    found = needed(model(survey), worst, settings.training.precision, kind, settings.training.fused_adamw)
    return found, [_measured(probe, found) if probe else _computed(settings, machine, found)]


def _measured(probe: Probe, computed: Memory) -> Finding:
    size = probe.batch_size
    largest = f"{'at least ' if probe.more else ''}{probe.largest}"
    if not probe.fits:
        step = f"set training.batch_size to {probe.largest}, and raise training.accumulation in proportion"
        if probe.largest < 2:
            step = "use a GPU with more memory, training.precision bf16, or a lower data.max_audio_seconds"
        message = (
            f"a batch of {size} does not fit into the {gb(probe.total)} of {probe.device}; {largest} does, measured"
        )
        return Finding("error", "memory", message, step)
    assert probe.peak is not None
    message = (
        f"a batch of {size} takes {gb(probe.peak)} of the {gb(probe.total)} of {probe.device}, measured in two steps"
        f" with the longest clips ({gb(computed.peak - computed.context)} computed); batches of up to {largest} fit"
    )
    return Finding("info", "memory", message)


def _computed(settings: Settings, machine: Machine, found: Memory) -> Finding:
    """Compared with the machine, or with the smallest GPU and all processes that share it."""
    if machine.gpus:
        smallest = min(machine.gpus, key=lambda gpu: gpu.memory or 2**63)
        sharing = ceil((settings.study.workers or len(machine.gpus)) / len(machine.gpus))
        there, where = smallest.memory, f"of {smallest.name}"
        step = "lower training.batch_size, or set training.precision to bf16"
    else:
        sharing = settings.study.workers or (min(2, machine.cpus) if settings.is_miniature else 1)
        there, where = machine.memory, "of this machine, which has no GPU"
        step = "lower training.batch_size or --workers"
    need = sharing * found.peak
    each = f" ({sharing} slots of {gb(found.peak)})" if sharing > 1 else ""
    if not there:
        return Finding("info", "memory", f"a training process takes about {gb(need)} on a GPU; computed, not measured")
    message = f"training takes about {gb(need)}{each} of the {gb(there)} {where}; computed, not measured"
    return Finding("warning", "memory", message, step) if need > TIGHT * there else Finding("info", "memory", message)


def disk(settings: Settings, survey: Survey, machine: Machine, course: Course) -> Iterator[Finding]:
    """An error when the prepared data or the trials do not fit."""
    cache = cache_bytes(survey, settings.data.probe_clips)
    study = study_bytes(settings, course) + states_bytes(settings, survey, machine)
    if machine.same_disk:
        cache, study = cache + study, 0
    for what, free, need, step in (
        (f"cache folder {machine.cache}", machine.cache_free, cache, "free some, or set XTTS_STUDY_CACHE"),
        (f"study.directory {machine.study}", machine.study_free, study, "free some, or name another"),
    ):
        if need and need + SPARE > free:
            message = f"{what} has {gb(free)} free; about {gb(need + SPARE)} are needed"
            yield Finding("error", "machine", message, step)


def cache_bytes(survey: Survey, probe_clips: int) -> int:
    """Of all that a search prepares: codes and tokens, the batches of the evaluation, and a copy of the base if its
    vocabulary grows. The decoded audio is in the cache already when there is a survey.
    """
    evaluated = len(survey.part("eval")) + min(probe_clips, len(survey.part("train")))
    base = 4 * survey.base.total_parameters if survey.missing else 0
    return int(2_000 * sum(not row.reason for row in survey.rows) + EVALUATED_BYTES * evaluated + base)


def study_bytes(settings: Settings, course: Course) -> int:
    """Of the logs and curves of a search."""
    return settings.study.trials * (TRIAL_BYTES + STEP_BYTES * course.trial_steps)


def states_bytes(settings: Settings, survey: Survey, machine: Machine) -> int:
    """Of what the running trials save: weights and both averages, of each run one state and one being written."""
    if settings.study.save_minutes is None:
        return 0
    return 2 * _slots(settings, machine) * 3 * FLOAT * survey.base.gpt.parameters


def processors(settings: Settings, machine: Machine) -> Iterator[Finding]:
    """A run keeps one processor busy: it makes its batches in its own process, without loader workers."""
    slots = _slots(settings, machine)
    if slots > machine.cpus:
        message = f"{slots} slots on {plural(machine.cpus, 'processor')}: runs will wait for each other"
        yield Finding("warning", "machine", message, f"set --workers to {machine.cpus} or fewer")


def _slots(settings: Settings, machine: Machine) -> int:
    return settings.study.workers or len(machine.gpus) or 1
