"""What is wrong with recordings that training would still use."""

from collections import Counter
from collections.abc import Iterator

from search.check.judgement import Finding, Sound, about, clips
from search.check.survey import Recording, Survey

AREA = "sound"
LOW_RATE = 16_000  # Hz; below it the upper half of the model's range is empty
SILENT_PEAK, SILENT_SHARE = 1e-3, 0.98  # -60 dB of full scale; share of the frames
MUCH_SILENCE = 0.6  # share of the frames
CLIPPED = 1e-3  # share of the samples at full scale
QUIET = 0.005  # root mean square, -46 dB of full scale; speech at a usual level has -26 to -18 dB
OFFSET = 0.02  # mean of the samples


def _is_silent(r: Recording) -> bool:
    return r.peak < SILENT_PEAK or r.silent >= SILENT_SHARE


# (what holds, what is said of it, next step, detail of a clip), the most serious first.
_WARNINGS = (
    (lambda r: not r.finite, "with NaN or infinite samples", "export it again", ""),
    (_is_silent, "with nothing but silence", "delete the row: it teaches silence", ""),
    (
        lambda r: not _is_silent(r) and r.clipped >= CLIPPED, "with samples at full scale: clipped",
        "record at a lower level; a limiter cannot repair it", "{r.clipped:.1%}",
    ),
    (
        lambda r: not _is_silent(r) and r.rms < QUIET, "with a very low level",
        "bring all clips to a common level", "root mean square {r.rms:.4f}",
    ),
    (
        lambda r: not _is_silent(r) and abs(r.offset) >= OFFSET, "with a DC offset",
        "filter below 40 Hz", "mean {r.offset:+.3f}",
    ),
    (
        lambda r: not _is_silent(r) and r.silent >= MUCH_SILENCE,
        f"with silence in more than {MUCH_SILENCE:.0%} of the time", "cut the silence at both ends", "{r.silent:.0%}",
    ),
    (
        lambda r: 0 < r.sample_rate < LOW_RATE, f"with a sample rate below {LOW_RATE:,} Hz",
        "record again at 24,000 Hz or more: frequencies above half the rate are missing, and the voice will sound dull",
        "{r.sample_rate:,} Hz",
    ),
    (
        lambda r: r.channels > 2, "with more than two channels, which are averaged",
        "use the channel of the voice", "{r.channels} channels",
    ),
    (
        lambda r: r.remark is not None, "with a header or a name that does not match the content",
        "export it again", "{r.remark}",
    ),
)  # fmt: skip


def judge(survey: Survey) -> Iterator[Finding]:
    """Warnings for recordings of clips that are used; infos for what is only converted."""
    used = dict.fromkeys(row.audio_file for row in survey.rows if not row.reason)
    recordings = [survey.recordings[name] for name in used]
    for holds, what, step, detail in _WARNINGS:
        yield from about(AREA, [(r.path, detail.format(r=r)) for r in recordings if holds(r)], what, step)
    yield from _converted(recordings, survey.sample_rate)
    # The header of a clip that is left out may be the cause.
    lying = [(r.path, r.remark) for r in survey.recordings.values() if r.remark and r.path not in used]
    yield from about(AREA, lying, "left out, with a header that does not match the content", "export it again")


def summary(survey: Survey) -> Sound:
    """The kinds of files that can be decoded."""
    kinds = Counter((r.sample_rate, r.channels) for r in survey.recordings.values() if r.sample_rate)
    return Sound([(rate, channels, files) for (rate, channels), files in kinds.most_common()], survey.sample_rate)


def _converted(recordings: list[Recording], rate: int) -> Iterator[Finding]:
    """What the preparation does to them, as infos."""
    upsampled = sum(LOW_RATE <= r.sample_rate < rate for r in recordings)
    if upsampled:
        message = (
            f"{clips(upsampled)} below the model's rate of {rate:,} Hz, upsampled: the highest frequencies are missing"
        )
        yield Finding("info", AREA, message, "record at 24,000 Hz or more where you can")
    stereo = sum(r.channels == 2 for r in recordings)
    if stereo:
        yield Finding("info", AREA, f"{clips(stereo)} in stereo; the two channels are averaged")
    rates = {r.sample_rate for r in recordings if r.sample_rate}
    if len(rates) > 1:
        shown = ", ".join(f"{value:,}" for value in sorted(rates))
        yield Finding("info", AREA, f"the clips have {len(rates)} sample rates: {shown} Hz")
