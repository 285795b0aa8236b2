"""What trials and full runs spoke, to be heard in the page, and their figures of quality."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from search.confirmation.proof import FULL
from search.errors import UserError
from search.pages.confirmation_figures import ordered
from search.pages.material import Material
from search.study import artifacts
from search.study.findings import row_of
from search.study.spoken import LEFT_OUT, Sentence, Speech

TRIALS = 3  # of the search that are heard, the best first
CONFIGS = 3  # of the confirmation that are heard, the lowest means first, in one run each; and the stock recipe
LARGEST = 40_000_000  # bytes of sound in a page


@dataclass(frozen=True)
class Clip:
    """A file to be heard; `uri` None: it is gone, or left out."""

    name: str
    uri: str | None
    why: str = ""


@dataclass(frozen=True)
class Take:
    """A sentence as one run spoke it."""

    who: str
    clip: Clip
    sentence: Sentence


@dataclass
class Heard:
    """A sentence with the real recording, the voice it was spoken with, and what runs made of it."""

    text: str
    speaker: str
    recorded: Clip
    reference: Clip
    takes: list[Take] = field(default_factory=list)


@dataclass(frozen=True)
class Quality:
    """Means over the sentences of a trial, or of all full runs of a config; None where no sentence has the figure."""

    who: str
    said: Sequence[Speech]

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
    problem: str | None  # why nothing can be heard at all
    left_out: int = 0  # trials that would have spoken, but for speech.share

    @property
    def recognisers(self) -> str:
        """Those that listened, by name."""
        return ", ".join(sorted({said.recogniser for q in self.quality for said in q.said if said.recogniser}))


def sound(material: Material) -> Sound:
    """Of the best trials that spoke and of the confirmation's best configs, a run each; quality of all that spoke."""
    spoke = [*_configs(material), *_trials(material)]
    silent = sum(bool(row.trial.user_attrs.get(LEFT_OUT)) and not row.speech for row in material.findings.completed)
    if not spoke:
        return Sound([], [], None, silent)
    quality = [each for each, _ in spoke]
    try:
        store = artifacts.open_store(material.settings, make=False)
    except UserError as error:
        return Sound([], quality, str(error), silent)
    clips = _Clips(store)
    heard: dict[tuple[str, str, str], Heard] = {}
    for each, who in spoke:
        if who is None:
            continue
        said = each.said[0]
        for sentence in said.sentences:
            recorded = clips.clip(said, sentence.recorded)
            key = (sentence.text, sentence.speaker, said.artifacts.get(sentence.recorded, sentence.recorded))
            if key not in heard:
                reference = clips.clip(said, sentence.reference)
                heard[key] = Heard(sentence.text, sentence.speaker, recorded, reference)
            heard[key].takes.append(Take(who, clips.clip(said, sentence.spoken), sentence))
    return Sound(list(heard.values()), quality, None, silent)


Spoke = tuple[Quality, str | None]  # and as whom its first run is heard; None: it is not


def _configs(material: Material) -> Iterator[Spoke]:
    """The configs in the race, the lowest means first."""
    if material.runs is None:
        return
    found = material.confirmation
    names = [c.name for c in (ordered(found) if found else material.runs.candidates)]
    full = material.runs.finished(FULL)
    stock = material.settings.stock_recipe().name
    count = 0
    for name in names:
        spoke = [(seed, said) for seed, trial in sorted(full.get(name, {}).items()) if (said := row_of(trial).speech)]
        if spoke:
            count += 1
            who = f"{name}, full run, seed {spoke[0][0]}" if count <= CONFIGS or name == stock else None
            runs = f"{len(spoke)} full run{'s' if len(spoke) > 1 else ''}"
            yield Quality(f"{name}, {runs}", [said for _, said in spoke]), who


def _trials(material: Material) -> Iterator[Spoke]:
    """The trials of the search that spoke, the best first."""
    spoke = [(f"trial {row.trial.number}", said) for row in material.findings.completed if (said := row.speech)]
    for place, (who, said) in enumerate(spoke):
        yield Quality(who, [said]), who if place < TRIALS else None


class _Clips:
    """Files of the store as data URIs, each read once, and no more than a page can hold."""

    def __init__(self, store: object) -> None:
        self._store = store
        self._read: dict[str, Clip] = {}
        self._bytes = 0

    def clip(self, said: Speech, name: str) -> Clip:
        known = said.artifacts.get(name)
        if known is None:
            return Clip(name, None, "not stored")
        if known not in self._read:
            self._read[known] = self._load(known, name)
        return self._read[known]

    def _load(self, known: str, name: str) -> Clip:
        content = artifacts.read(self._store, known)
        if isinstance(content, str):
            return Clip(name, None, content)
        if self._bytes + len(content) > LARGEST:
            return Clip(name, None, f"left out: the page has {LARGEST // 10**6} MB of sound already")
        self._bytes += len(content)
        return Clip(name, "data:audio/wav;base64," + base64.b64encode(content).decode())
