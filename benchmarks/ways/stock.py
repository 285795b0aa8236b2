"""One trial the stock way, in a process of its own: `python -m benchmarks.ways.stock CONFIG OUT ACCUMULATION`.

coqui's recipe (recipes/ljspeech/xtts_v2/train_gpt_xtts.py of coqui-tts) on the config that the benchmark wrote, with
nothing of ours but the meter, and a tokenizer that lets texts of a language pass that coqui's does not list: without it
every Amharic clip would be dropped.
"""

import sys
from pathlib import Path

from trainer import Trainer, TrainerArgs
from TTS.tts.datasets import load_tts_samples
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer, GPTTrainerConfig

from benchmarks.ways.meter import Meter


class Tokenizer(VoiceBpeTokenizer):
    def preprocess_text(self, txt: str, lang: str) -> str:
        try:
            return str(super().preprocess_text(txt, lang))
        except NotImplementedError:
            return " ".join(txt.lower().split())


def train(given: Path, out: Path, accumulation: int) -> Trainer:
    """As the recipe does it. Stock ends the process with code 1 for any error."""
    with Meter() as meter:
        meter.wrap(Trainer, "train_epoch", "loop")
        meter.wrap(Trainer, "eval_epoch", "evaluation")
        config = GPTTrainerConfig()
        config.load_json(str(given))
        model = GPTTrainer(config)
        model.xtts.tokenizer = Tokenizer(config.model_args.tokenizer_file)
        train_samples, eval_samples = load_tts_samples(
            config,
            eval_split=True,
            eval_split_max_size=config.eval_split_max_size,
            eval_split_size=config.eval_split_size,
        )
        trainer = Trainer(
            TrainerArgs(grad_accum_steps=accumulation),
            config,
            output_path=config.output_path,
            model=model,
            train_samples=train_samples,
            eval_samples=eval_samples,
            parse_command_line_args=False,
        )
        trainer.fit()
        meter.write(out)
    return trainer


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
