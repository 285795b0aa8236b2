"""Speaks a sentence with the model in this script's folder. Needs coqui-tts, torch and soundfile, and nothing else.

python speak.py "text" --language am --reference reference/1.wav --output out.wav
"""

import argparse
import re
import unicodedata
from pathlib import Path

import soundfile
import torch
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.xtts import Xtts

FOLDER = Path(__file__).resolve().parent

# What the training did with texts, from search/training/tokenizer.py.
LISTED = frozenset("ar cs de en es fr hi hu it ja ko nl pl pt ru tr zh".split())
INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)


class Tokenizer(VoiceBpeTokenizer):
    """coqui's tokenizer; texts of languages that it does not list are normalised by `normalise`."""

    def preprocess_text(self, txt: str, lang: str) -> str:
        return str(super().preprocess_text(txt, lang)) if lang in LISTED else normalise(txt)


def normalise(text: str) -> str:
    """`text` in NFC and lower case, without invisible signs, any white space as one space."""
    visible = INVISIBLE.sub("", text)
    lower = unicodedata.normalize("NFC", visible).lower()
    return " ".join(unicodedata.normalize("NFC", lower).split())


def load(folder: Path) -> Xtts:
    """The model, on the GPU where there is one."""
    config = XttsConfig()
    config.load_json(str(folder / "config.json"))
    model = Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(folder), use_deepspeed=False)
    model.tokenizer = Tokenizer(vocab_file=str(folder / "vocab.json"))
    return model.cuda() if torch.cuda.is_available() else model


def reference_files(given: list[str]) -> list[str]:
    """The clips of the voice: as given, or else beside this script; without any, all that lie there."""
    if not given:
        return sorted(map(str, (FOLDER / "reference").glob("*.wav")))
    return [name if Path(name).exists() else str(FOLDER / name) for name in given]


def main() -> None:
    parser = argparse.ArgumentParser(description="Speak a sentence with the model in this script's folder.")
    parser.add_argument("text")
    parser.add_argument("--language", required=True, help='as in config.json, like "en"')
    parser.add_argument("--reference", action="append", default=[], help="a wav of the voice; may be given again")
    parser.add_argument("--output", default="out.wav")
    parser.add_argument("--temperature", type=float, help="default: config.json's")
    parser.add_argument("--seed", type=int, help="for the same speech each time")
    given = parser.parse_args()
    model = load(FOLDER)
    if given.language not in model.config.languages:
        parser.error(f"--language {given.language} is not one of {', '.join(model.config.languages)}")
    if given.seed is not None:
        torch.manual_seed(given.seed)
    sampling = {} if given.temperature is None else {"temperature": given.temperature}
    made = model.synthesize(
        given.text, speaker_wav=reference_files(given.reference), language=given.language, **sampling
    )
    rate = model.config.audio.output_sample_rate
    soundfile.write(given.output, made["wav"], rate)
    print(f"{given.output}: {len(made['wav']) / rate:.2f} s")


if __name__ == "__main__":
    main()
