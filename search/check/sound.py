"""What is wrong with recordings that training would take all the same."""

from collections import Counter
from collections.abc import Callable

from search.check.judgement import Finding, Sound, clips
from search.check.survey import Recording, Survey

AREA = "sound"
LOW_RATE = 16_000  # Hz; below it the upper half of the model's range is empty
SILENT_PEAK, SILENT_SHARE = 1e-3, 0.98  # -60 dB of full scale; of the frames
MUCH_SILENCE = 0.6  # of the frames
CLIPPED = 1e-3  # of the samples at full scale
QUIET = 0.005  # root mean square, -46 dB of full scale; speech at a usual level has -26 to -18 dB
OFFSET = 0.02  # mean of the samples


def judge(survey: Survey) -> list[Finding]:
    """Warnings for recordings of clips that are used, the most serious first; infos for what is merely converted."""
    used = dict.fromkeys(
        row.audio_file for row in survey.rows if not row.dropped and row.audio_file in survey.recordings
    )
    recordings = [survey.recordings[name] for name in used]
    silent = {r.path for r in recordings if _silent(r)}
    audible = [r for r in recordings if r.path not in silent]
    findings = [
        *_warn(recordings, lambda r: not r.finite, "NaN or infinite samples", "export it again", lambda _: ""),
        *_warn(recordings, _silent, "nothing but silence", "delete the row: it teaches silence", lambda _: ""),
        *_warn(
            audible, lambda r: r.clipped >= CLIPPED, "samples at full scale: clipped",
            "record at a lower level; a limiter cannot mend it", lambda r: f"{r.clipped:.1%}",
        ),
        *_warn(
            audible, lambda r: r.rms < QUIET, "a very low level", "raise the level of all clips to a common one",
            lambda r: f"root mean square {r.rms:.4f}",
        ),
        *_warn(
            audible, lambda r: abs(r.offset) >= OFFSET, "a DC offset", "filter below 40 Hz",
            lambda r: f"mean {r.offset:+.3f}",
        ),
        *_warn(
            audible, lambda r: r.silent >= MUCH_SILENCE, f"silence in more than {MUCH_SILENCE:.0%} of its time",
            "cut the silence at both ends", lambda r: f"{r.silent:.0%}",
        ),
        *_warn(
            recordings, lambda r: 0 < r.sample_rate < LOW_RATE, f"a sample rate below {LOW_RATE:,} Hz",
            "record again at 24,000 Hz or more: nothing above half the rate is in it, and the voice will sound dull",
            lambda r: f"{r.sample_rate:,} Hz",
        ),
        *_warn(
            recordings, lambda r: r.channels > 2, "more than two channels, whose mean is trained on",
            "take the channel of the voice", lambda r: f"{r.channels} channels",
        ),
        *_warn(
            recordings, lambda r: r.remark is not None, "a header or a name that its content does not bear out",
            "export it again", lambda r: r.remark or "",
        ),
        *_converted(recordings, survey.sample_rate),
    ]  # fmt: skip
    return [*findings, *_unused_remarks(survey, used)]


def summary(survey: Survey) -> Sound:
    """The kinds of files, those that cannot be decoded left out."""
    kinds = Counter((r.sample_rate, r.channels) for r in survey.recordings.values() if r.sample_rate)
    return Sound([(rate, channels, files) for (rate, channels), files in kinds.most_common()], survey.sample_rate)


def _silent(recording: Recording) -> bool:
    return recording.peak < SILENT_PEAK or recording.silent >= SILENT_SHARE


def _warn(
    recordings: list[Recording],
    holds: Callable[[Recording], bool],
    what: str,
    step: str,
    detail: Callable[[Recording], str],
) -> list[Finding]:
    files = [(r.path, detail(r)) for r in recordings if holds(r)]
    return [Finding("warning", AREA, f"{clips(len(files))} with {what}", step, files)] if files else []


def _converted(recordings: list[Recording], rate: int) -> list[Finding]:
    """What the preparation does to them, as infos."""
    findings = []
    upsampled = [r for r in recordings if LOW_RATE <= r.sample_rate < rate]
    if upsampled:
        message = (
            f"{clips(len(upsampled))} below the model's rate of {rate:,} Hz are upsampled; what lay above is missing"
        )
        findings.append(Finding("info", AREA, message, "record at 24,000 Hz or more where you can"))
    stereo = sum(r.channels == 2 for r in recordings)
    if stereo:
        findings.append(Finding("info", AREA, f"{clips(stereo)} in stereo; the mean of the channels is trained on"))
    rates = {r.sample_rate for r in recordings if r.sample_rate}
    if len(rates) > 1:
        shown = ", ".join(f"{value:,}" for value in sorted(rates))
        findings.append(Finding("info", AREA, f"the clips have {len(rates)} sample rates: {shown} Hz"))
    return findings


def _unused_remarks(survey: Survey, used: dict[str, None]) -> list[Finding]:
    """Clips that are left out: their header may be the reason behind the reason."""
    files = [(r.path, r.remark) for r in survey.recordings.values() if r.remark and r.path not in used]
    step = "export it again"
    return (
        [Finding("warning", AREA, f"{clips(len(files))}, left out, with a header that lies", step, files)]
        if files
        else []
    )
