"""Generated speech: eSpeak NG, from the wheel that bundles it, writes a corpus in the `coqui` formatter's layout.

The synthesiser keeps state between sentences, so a corpus is made in one fixed order by a fresh process
(`python -m search.preparation.miniature_speech`): the same bits on every machine.
"""

import csv
import ctypes
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np

from search.preparation.miniature_texts import AMHARIC, ENGLISH, sentences

SAMPLE_RATE = 22_050  # Hz; what eSpeak NG speaks and what XTTS trains on

# espeak-ng's speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE, _PITCH = 1, 3

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Synthesiser:
    """eSpeak NG in this process. One at a time: the library's state is global."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        rate = self._lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0)
        if rate != SAMPLE_RATE:
            raise RuntimeError(f"eSpeak NG did not start (espeak_Initialize returned {rate})")
        self._chunks: list[np.ndarray] = []
        self._callback = _Callback(self._receive)  # kept: the library holds the bare pointer
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples, count, _events) -> int:  # type: ignore[no-untyped-def]
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: str, rate: int = 175, pitch: int = 50) -> np.ndarray:
        """int16 samples at `SAMPLE_RATE` of `text` in `voice` (eSpeak's name, "am"); `rate` in words a minute."""
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {voice!r}")
        self._lib.espeak_SetParameter(_RATE, rate, 0)
        self._lib.espeak_SetParameter(_PITCH, pitch, 0)
        data = text.encode()
        self._chunks = []
        self._lib.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._lib.espeak_Synchronize()
        return np.concatenate(self._chunks)


@dataclass(frozen=True)
class Corpus:
    """What to speak: each sentence by the next of `speakers` in turn, the last `eval_clips` held out.

    A speaker is a name and a base pitch (0-99) of one eSpeak voice. The voice variants ("am+f3") are not used: they
    mix in noise that differs from run to run.
    """

    words: list[str]
    voice: str
    speakers: tuple[tuple[str, int], ...]
    train_clips: int
    eval_clips: int
    seed: int


ENGLISH_SPEAKERS = (("anna", 80), ("ben", 30), ("carl", 45), ("dora", 65))
CORPORA = {
    "amharic": Corpus(AMHARIC, "am", (("abebe", 38), ("almaz", 74)), train_clips=60, eval_clips=20, seed=7),
    "english": Corpus(ENGLISH, "en-us", ENGLISH_SPEAKERS, train_clips=2000, eval_clips=40, seed=11),
}


def write_corpus(corpus: Corpus, directory: Path) -> None:
    """`directory`/wavs/*.wav with train.csv and eval.csv beside it (`audio_file|text|speaker_name`)."""
    synthesiser = Synthesiser()
    (directory / "wavs").mkdir(parents=True)
    rows = []
    for i, text in enumerate(sentences(corpus.words, corpus.train_clips + corpus.eval_clips, corpus.seed)):
        speaker, pitch = corpus.speakers[i % len(corpus.speakers)]
        # Rate and pitch move a little, so that the codes of a word differ from clip to clip as a person's do.
        samples = synthesiser.speak(text, corpus.voice, rate=185 + 5 * (i % 7), pitch=pitch + 3 * (i % 5))
        name = f"wavs/{i:04d}.wav"
        with wave.open(str(directory / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples.tobytes())
        rows.append((name, text, speaker))
    for name, part in (("train.csv", rows[: corpus.train_clips]), ("eval.csv", rows[corpus.train_clips :])):
        with open(directory / name, "w", encoding="utf-8", newline="") as table:
            writer = csv.writer(table, delimiter="|", lineterminator="\n")
            writer.writerow(("audio_file", "text", "speaker_name"))
            writer.writerows(part)


if __name__ == "__main__":
    write_corpus(CORPORA[sys.argv[1]], Path(sys.argv[2]))
