"""What trials and full runs spoke, to be heard in the page, and their figures of quality."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from search.confirmation.runs import FULL
from search.errors import UserError
from search.pages.material import Material
from search.settings.sections import STOCK
from search.show.confirmation_tables import ordered
from search.study import artifacts
from search.study.findings import row_of
from search.study.spoken import LEFT_OUT, Sentence, Speech

TRIALS = 3  # of the search that are heard, the best first
CONFIGS = 3  # of the confirmation that are heard, the lowest means first, in one run each; and the stock recipe
LARGEST = 40_000_000  # bytes of sound in a page


@dataclass(frozen=True)
class Clip:
    """A file to be heard; `uri` None: it is gone, or left out."""

    label: str
    uri: str | None
    why: str = ""


@dataclass(frozen=True)
class Heard:
    """A sentence: the real recording, the voice it was spoken with, and what runs made of it."""

    text: str
    clips: list[Clip]


@dataclass(frozen=True)
class Quality:
    """Means over the sentences of a trial, or of all full runs of a config; None where no sentence has the figure."""

    who: str
    said: Sequence[Speech]
    heard_as: str | None  # whom the page calls the first of `said`; None: it is not heard

    def mean(self, name: str) -> float | None:
        known = [mean for said in self.said if (mean := said.mean(name)) is not None]
        return fmean(known) if known else None

    @property
    def sentences(self) -> list[Sentence]:
        return [sentence for said in self.said for sentence in said.sentences]


@dataclass(frozen=True)
class Sound:
    heard: list[Heard]
    quality: list[Quality]
    problem: str | None = None  # why nothing can be heard at all
    left_out: int = 0  # trials that were good enough to be heard, but for speech.share

    @property
    def recognisers(self) -> str:
        """Those that listened, by name."""
        return ", ".join(sorted({said.recogniser for q in self.quality for said in q.said if said.recogniser}))


def sound(material: Material) -> Sound:
    """Of the best trials that spoke and of the confirmation's best configs, a run each; quality of all that spoke."""
    silent = sum(bool(row.trial.user_attrs.get(LEFT_OUT)) and not row.speech for row in material.findings.completed)
    quality = [*_configs(material), *_trials(material)]
    if not quality:
        return Sound([], [], None, silent)
    try:
        store = artifacts.open_store(material.settings, make=False)
    except UserError as error:
        return Sound([], quality, str(error), silent)
    files: dict[str | None, bytes | str] = {None: "not stored"}  # content, or why there is none

    def clip(label: str, said: Speech, name: str) -> Clip:
        """Each file is read once, and a page holds no more than it can."""
        known = said.artifacts.get(name)
        if known and known not in files:
            room = LARGEST - sum(len(content) for content in files.values() if isinstance(content, bytes))
            content = artifacts.read(store, known)
            full = f"left out: the page has {LARGEST // 10**6} MB of sound already"
            files[known] = full if isinstance(content, bytes) and len(content) > room else content
        content = files[known]
        if isinstance(content, str):
            return Clip(label, None, f"{name}: {content}")
        return Clip(label, "data:audio/wav;base64," + base64.b64encode(content).decode())

    heard: dict[tuple[str, str, str], Heard] = {}
    for each in (each for each in quality if each.heard_as):
        said = each.said[0]
        for sentence in said.sentences:
            key = (sentence.text, sentence.speaker, said.artifacts.get(sentence.recorded, sentence.recorded))
            if key not in heard:
                recorded = clip(f"recorded, {sentence.speaker}", said, sentence.recorded)
                reference = clip("reference of the voice", said, sentence.reference)
                heard[key] = Heard(sentence.text, [recorded, reference])
            label = f"{each.heard_as}{' (did not stop by itself)' if sentence.cut else ''}"
            heard[key].clips.append(clip(label, said, sentence.spoken))
    return Sound(list(heard.values()), quality, None, silent)


def _configs(material: Material) -> Iterator[Quality]:
    """The configs of the race and of the rate line that spoke, the lowest means first."""
    if material.runs is None:
        return
    found, full = material.confirmation, material.runs.finished(FULL)
    racing, count = ordered(found) if found else material.runs.racing, 0
    for name in dict.fromkeys(c.name for c in (*racing, *material.runs.line.runs)):
        spoke = [(seed, said) for seed, trial in sorted(full.get(name, {}).items()) if (said := row_of(trial).speech)]
        if spoke:
            count += 1
            heard_as = f"{name}, full run, seed {spoke[0][0]}" if count <= CONFIGS or name == STOCK else None
            runs = f"{len(spoke)} full run{'s' if len(spoke) > 1 else ''}"
            yield Quality(f"{name}, {runs}", [said for _, said in spoke], heard_as)


def _trials(material: Material) -> Iterator[Quality]:
    """The trials of the search that spoke, the best first."""
    spoke = [(f"trial {row.trial.number}", said) for row in material.findings.completed if (said := row.speech)]
    for place, (who, said) in enumerate(spoke):
        yield Quality(who, [said], who if place < TRIALS else None)
