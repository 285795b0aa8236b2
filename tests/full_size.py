"""Writes a base of XTTS-v2's size with random weights: `python -m tests.full_size FOLDER`."""

import json
import sys
from pathlib import Path

import torch
from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig
from TTS.tts.models.xtts import Xtts

from search.preparation.miniature_base import noise_state
from search.training.base import new_dvae
from search.training.tokenizer import Tokenizer, extended_vocabulary

TOKENS = 6681  # XTTS-v2's vocabulary
CODES = 1024


def write_full_size_base(miniature: Path, directory: Path) -> None:
    """30 layers of 1,024, 16 heads, 6,681 tokens, 1,024 codes; the vocabulary is the miniature's and made-up tokens."""
    have = Tokenizer(miniature / "vocab.json").get_number_tokens()
    made_up = [f"<{i}>" for i in range(TOKENS - have)]
    (directory / "vocab.json").write_text(extended_vocabulary(miniature / "vocab.json", made_up), encoding="utf-8")
    args = XttsArgs(
        gpt_num_audio_tokens=CODES + 2,
        gpt_start_audio_token=CODES,
        gpt_stop_audio_token=CODES + 1,
        gpt_use_perceiver_resampler=True,
        gpt_number_text_tokens=TOKENS,
        gpt_start_text_token=Tokenizer(directory / "vocab.json").tokenizer.token_to_id("[START]"),
        gpt_stop_text_token=0,
    )
    config = XttsConfig(model_args=args, audio=XttsAudioConfig(), languages=["en"])
    torch.save({"model": noise_state(Xtts(config), seed=3)}, directory / "model.pth")
    torch.save(noise_state(new_dvae(CODES), seed=4), directory / "dvae.pth")
    torch.save(torch.full((80,), 3.0), directory / "mel_stats.pth")
    (directory / "config.json").write_text(json.dumps(config.to_dict(), indent=2), encoding="utf-8")


if __name__ == "__main__":
    from search.preparation.places import locate
    from search.settings.settings import load

    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    write_full_size_base(locate(load(None, {}), Path(sys.argv[2]), print)[1], target)
