"""What trials and full runs spoke, to be heard in the page, and their figures of quality."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

from search import artifacts, speech
from search.errors import UserError
from search.speech import Sentence, Speech
from search.study_report.confirmation_figures import ordered
from search.study_report.material import Material

TRIALS = 3  # of the search that are heard, the best first; and one run of each config of the confirmation
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
    """Means over the sentences of a run."""

    who: str
    step: int
    said: Speech


@dataclass(frozen=True)
class Sound:
    heard: list[Heard]
    quality: list[Quality]
    problem: str | None  # why nothing can be heard at all


def sound(material: Material) -> Sound:
    """Of the best trials that spoke, and of a run of each config of the confirmation; quality of all that spoke."""
    spoke = list(_spoke(material))
    if not spoke:
        return Sound([], [], None)
    quality = [Quality(who, said.step, said) for who, said, _ in spoke]
    try:
        store = artifacts.open_store(material.settings, make=False)
    except UserError as error:
        return Sound([], quality, str(error))
    clips = _Clips(store)
    heard: dict[tuple[str, str, str], Heard] = {}
    for who, said, shown in spoke:
        if not shown:
            continue
        for sentence in said.sentences:
            recorded = clips.clip(said, sentence.recorded)
            key = (sentence.text, sentence.speaker, said.artifacts.get(sentence.recorded, sentence.recorded))
            if key not in heard:
                reference = clips.clip(said, sentence.reference)
                heard[key] = Heard(sentence.text, sentence.speaker, recorded, reference)
            heard[key].takes.append(Take(who, clips.clip(said, sentence.spoken), sentence))
    return Sound(list(heard.values()), quality, None)


def _spoke(material: Material) -> Iterator[tuple[str, Speech, bool]]:
    """(who, what, whether it is to be heard)."""
    if material.runs is not None:
        names = [c.name for c in ordered(material.confirmation)] if material.confirmation else []
        full = material.runs.finished("full")
        for name in dict.fromkeys((*names, *full)):
            heard = False
            for seed, trial in sorted(full.get(name, {}).items()):
                if found := trial.user_attrs.get(speech.ATTRIBUTE):
                    yield f"{name}, full run, seed {seed}", Speech.from_dict(found), not heard
                    heard = True
    count = 0
    for row in material.findings.completed:
        if (said := row.speech) is not None:
            yield f"trial {row.trial.number}", said, count < TRIALS
            count += 1


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
        if content is None:
            return Clip(name, None, "not in the artifact store that this machine reads")
        if self._bytes + len(content) > LARGEST:
            return Clip(name, None, f"left out: the page has {LARGEST // 10**6} MB of sound already")
        self._bytes += len(content)
        return Clip(name, "data:audio/wav;base64," + base64.b64encode(content).decode())
