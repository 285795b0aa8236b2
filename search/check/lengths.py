"""How long clips and texts are, compared with what the model takes."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from search.check.judgement import Distribution, Finding, about
from search.check.survey import PARTS, Survey
from search.settings.settings import Settings

AREA = "lengths"
CLOSE = 0.9  # of the limit
MANY = 0.2  # share of the clips above CLOSE of the limit that is worth a line
SLOW, FAST = 1.0, 40.0  # letters per second; read speech has 8 to 20 (not measured here: a wide net)
BINS = 40
QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}


def judge(distributions: list[Distribution], survey: Survey) -> Iterator[Finding]:
    """An info where many clips are close to a limit, a warning for texts that cannot belong to their audio."""
    for found in distributions:
        if found.clips >= 10 and found.close > MANY * found.clips:
            message = (
                f"{found.part}: {found.close / found.clips:.0%} of the {'clips' if found.what == 'audio' else 'texts'}"
                f" are within a tenth of the limit of {found.limit:g} {found.unit}"
            )
            yield Finding("info", AREA, message, "see whether longer ones were cut off in the middle")
    files, letterless = [], []
    for row in survey.rows:
        seconds, letters = survey.seconds(row), sum(map(str.isalnum, row.text))
        if not letters and not row.reason:
            letterless.append((row.audio_file, row.text))
        elif seconds and not row.reason and not SLOW <= letters / seconds <= FAST:
            files.append((row.audio_file, f"{letters} letters in {seconds:.1f} s"))
    step = "write what is said, or delete the row"
    yield from about(AREA, letterless, "with a text without a letter or digit", step)
    what = f"with a text that can hardly be said in that time: outside {SLOW:g} to {FAST:g} letters per second"
    yield from about(AREA, files, what, "listen to them: text and audio may not belong together")


def distributions(settings: Settings, survey: Survey) -> list[Distribution]:
    """Audio seconds and text tokens of each part, without clips that could not be measured."""
    data, base = settings.data, survey.base
    made = []
    for part in PARTS:
        rows = survey.part(part, used=False)
        seconds = [s for row in rows if (s := survey.seconds(row))]
        tokens = [row.tokens for row in rows if row.tokens]
        made += [
            _distribution(part, "audio", "s", seconds, data.max_audio_seconds, base.max_audio_seconds),
            _distribution(part, "text", "tokens", tokens, data.max_text_tokens, base.max_text_tokens),
        ]
    return made


def _distribution(
    part: str, what: Literal["audio", "text"], unit: str, lengths: Sequence[float], limit: float, model: float
) -> Distribution:
    values = np.array(lengths, float)
    top = max([1.15 * limit, *lengths])
    top = min(top, 3 * limit)  # one clip of an hour would hide all others; the last bin holds what is longer
    counts, edges = np.histogram(values.clip(max=top), BINS, (0, top))
    places = np.quantile(values, list(QUANTILES.values()), method="nearest") if lengths else []
    above = int((values > limit).sum())
    return Distribution(
        part, what, unit, float(limit), float(model), len(values),
        {name: float(value) for name, value in zip(QUANTILES, places, strict=False)},
        close=int((values > CLOSE * limit).sum()) - above, above=above, edges=edges.tolist(), counts=counts.tolist(),
    )  # fmt: skip
