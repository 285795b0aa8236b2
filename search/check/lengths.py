"""How long clips and texts are, beside what the model takes."""

from bisect import bisect_right

from search.check.judgement import Distribution, Finding, clips
from search.check.survey import PARTS, Survey
from search.settings.settings import Settings

AREA = "lengths"
CLOSE = 0.9  # of the limit
MANY = 0.2  # share of the clips above CLOSE of the limit that is worth a line
SLOW, FAST = 1.0, 40.0  # letters a second; read speech has 8 to 20 (measured nowhere here: a wide net)
BINS = 40


def judge(settings: Settings, survey: Survey) -> list[Finding]:
    """An info where many clips are close to a limit, a warning for texts that cannot belong to their audio."""
    findings = []
    for found in distributions(settings, survey):
        if found.clips >= 10 and found.close > MANY * found.clips:
            message = (
                f"{found.part}: {found.close / found.clips:.0%} of the {'clips' if found.what == 'audio' else 'texts'}"
                f" are within a tenth of the limit of {found.limit:g} {found.unit}"
            )
            findings.append(Finding("info", AREA, message, "see whether longer ones were cut off in their midst"))
    return [*findings, *_pace(survey)]


def _pace(survey: Survey) -> list[Finding]:
    """Letters a second far from any speech: a text that belongs to another clip, or a clip that was cut."""
    files = []
    for row in survey.rows:
        seconds = survey.seconds(row) if row.audio_file in survey.recordings else 0.0
        letters = sum(map(str.isalnum, row.text))
        if seconds and letters and not row.dropped and not SLOW <= letters / seconds <= FAST:
            files.append((row.audio_file, f"{letters} letters in {seconds:.1f} s"))
    if not files:
        return []
    message = (
        f"{clips(len(files))} with a text that can hardly be said in that time: {SLOW:g} to {FAST:g} letters a second"
    )
    return [Finding("warning", AREA, message, "listen to them: text and audio may not belong together", files)]


def distributions(settings: Settings, survey: Survey) -> list[Distribution]:
    """Audio seconds and text tokens of each part; a clip that was not measured counts in neither."""
    data, base = settings.data, survey.base
    made = []
    for part in PARTS:
        rows = survey.part(part, used=False)
        seconds = [s for row in rows if (s := _seconds(survey, row.audio_file))]
        tokens = [float(row.tokens) for row in rows if row.tokens]
        made += [
            _distribution(part, "audio", "s", seconds, data.max_audio_seconds, base.max_audio_seconds),
            _distribution(part, "text", "tokens", tokens, float(data.max_text_tokens), float(base.max_text_tokens)),
        ]
    return made


def _seconds(survey: Survey, file: str) -> float:
    recording = survey.recordings.get(file)
    return recording.seconds if recording else 0.0


def _distribution(part: str, what: str, unit: str, values: list[float], limit: float, model: float) -> Distribution:
    values = sorted(values)
    top = max([1.15 * limit, *values[-1:]])
    top = min(top, 3 * limit)  # one clip of an hour would hide all others; the last bin holds what is longer
    edges = [top * i / BINS for i in range(BINS + 1)]
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(BINS * value / top))] += 1
    above = len(values) - bisect_right(values, limit)
    close = len(values) - above - bisect_right(values, CLOSE * limit)
    places = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
    quantiles = {name: values[round(q * (len(values) - 1))] for name, q in places.items()} if values else {}
    return Distribution(
        part, "audio" if what == "audio" else "text", unit, limit, model, len(values), quantiles, close, above,
        edges, counts,
    )  # fmt: skip
