"""Speaks a sentence with the model in this script's folder. Needs coqui-tts, torch and soundfile, and nothing else.

python speak.py "text" --language am --reference reference/1.wav --output out.wav
"""

import argparse
import unicodedata
from pathlib import Path

import soundfile
import torch
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.xtts import Xtts

FOLDER = Path(__file__).resolve().parent


class Tokenizer(VoiceBpeTokenizer):
    """Normalises languages that coqui does not list as the training did: NFC, lower case, single spaces."""

    def preprocess_text(self, txt: str, lang: str) -> str:
        try:
            return str(super().preprocess_text(txt, lang))
        except NotImplementedError:
            return " ".join(unicodedata.normalize("NFC", txt).lower().split())


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
