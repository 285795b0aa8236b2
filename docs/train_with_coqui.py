"""Trains with coqui's own classes from what `study.py export --format coqui` wrote. Needs coqui-tts and nothing else.

python train_with_coqui.py coqui_config.json --grad-accum-steps 8
"""

import argparse
import re
import unicodedata

from trainer import Trainer, TrainerArgs
from TTS.tts.datasets import load_tts_samples
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer, GPTTrainerConfig

INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)


class Tokenizer(VoiceBpeTokenizer):
    """coqui's refuses a language that it does not list, and its dataset then drops every clip."""

    def preprocess_text(self, txt, lang):
        try:
            return super().preprocess_text(txt, lang)
        except NotImplementedError:  # as the search normalised such texts
            lower = unicodedata.normalize("NFC", INVISIBLE.sub("", txt)).lower()
            return " ".join(unicodedata.normalize("NFC", lower).split())


parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("--grad-accum-steps", type=int, required=True, help="not a field of the config")
given = parser.parse_args()

config = GPTTrainerConfig()
config.load_json(given.config)
model = GPTTrainer(config)
model.xtts.tokenizer = Tokenizer(config.model_args.tokenizer_file)
train, held_out = load_tts_samples(config, eval_split_size=config.eval_split_size)
args = TrainerArgs(grad_accum_steps=given.grad_accum_steps)
trainer = Trainer(args, config, model=model, train_samples=train, eval_samples=held_out, parse_command_line_args=False)
trainer.fit()  # writes below config.output_path: best_model.pth after the first epoch, and at each improvement
