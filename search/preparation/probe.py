"""Measures how much GPU memory two training steps on the longest batch take, and which batches fit."""

import gc
import tempfile
from collections import deque
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

from search.check import memory, resources
from search.check.memory import Probe
from search.check.survey import Survey
from search.preparation import base_check
from search.preparation.places import Progress
from search.settings.settings import Settings
from search.training import base
from search.training.evaluation import Evaluator, Sets
from search.training.run import configured, seed_everything
from search.training.trainee import Trainee
from search.training.trainer import StudyTrainer
from space.hyperparameters import Hyperparameters

SMALLEST = 2  # clips per batch that training accepts
LARGEST = 64  # clips per batch that are tried
STEPS = 2  # the first makes AdamW's averages, the second has them beside its activations


class Meter:
    """The first visible GPU, as torch's allocator sees it: what it took from the device, including its gaps."""

    def __init__(self) -> None:
        device = torch.cuda.get_device_properties(0)
        self.name, self.total = str(device.name), int(device.total_memory)  # bytes

    def reset(self) -> None:
        """Frees what is not in use, and forgets the peak."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        """Most bytes taken since `reset`."""
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_reserved())


def probe(settings: Settings, survey: Survey, meter: Meter, progress: Progress) -> Probe:
    """Measures with the base of `survey` and the training code of a trial. The weights are thrown away."""
    worst = resources.batch(settings, survey)
    assert worst is not None, "a probe needs clips"
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        trainer = _trainer(settings, survey, Path(folder))

        def measure(clips: int) -> int | None:
            progress(f"measuring memory on {meter.name}: two steps with a batch of {clips}")
            meter.reset()
            try:
                # A new one each time: the model takes a batch apart.
                batches = (random_batch(trainer.config, worst, clips) for _ in repeat(None))
                deque(trainer.steps(batches, trainer.recorder.steps + STEPS), maxlen=0)
            except torch.OutOfMemoryError:
                return None
            else:
                return meter.peak()
            finally:
                trainer.optimizer[0].zero_grad(set_to_none=True)
                gc.collect()  # what the exception's traceback held

        return find_largest(measure, settings.training.batch_size, meter)


def find_largest(measure: Callable[[int], int | None], wanted: int, meter: Meter) -> Probe:
    """Measures `wanted`, and then doubles it until a batch fails, or halves it until one fits."""
    peak, size = measure(wanted), wanted
    if peak is None:
        while (size := size // 2) >= SMALLEST and measure(size) is None:
            pass
        return Probe(meter.name, meter.total, wanted, None, size if size >= SMALLEST else 0, False)
    while 2 * size <= LARGEST and measure(2 * size) is not None:
        size *= 2
    return Probe(meter.name, meter.total, wanted, peak, size, 2 * size > LARGEST)


def refuse_base(settings: Settings, survey: Survey) -> None:
    """Raises UserError for a base whose loss on two short clips of noise is not finite."""
    directory = Path(survey.base.directory)
    config = base_check.config_for(settings, directory)
    batch = random_batch(config, memory.Batch(2, 20, 40, 0), 2)
    model = base.load_model(config)
    base_check.refuse_loss(directory, *Evaluator(model, Sets([], [])).losses([model.format_batch_on_device(batch)]))


def random_batch(config: GPTTrainerConfig, worst: memory.Batch, clips: int) -> dict[str, Any]:
    """A batch of the longest text and clip, as `PreparedDataset` makes it, with random content."""
    args = config.model_args
    samples = worst.codes * args.gpt_code_stride_len
    codes = args.gpt_num_audio_tokens - 2  # START and STOP are no codes
    text = torch.full((clips, worst.text_tokens), 2, dtype=torch.int32)
    return {
        "padded_text": text,
        "text_lengths": torch.full((clips,), worst.text_tokens),
        "wav": torch.zeros(clips, 1, samples),
        "wav_lengths": torch.full((clips,), samples),
        "audio_codes": torch.randint(codes, (clips, worst.codes)),
        "conditioning": torch.randn(clips, 1, 1, args.max_conditioning_length),
        "cond_lens": None,
        # Beyond the last code: nothing is masked, and the loss has all its terms.
        "cond_idxs": torch.tensor([[256 * 10_000, 256 * 10_000 + 256]] * clips),
        "filenames": ["probe"] * clips,
    }


def _trainer(settings: Settings, survey: Survey, folder: Path) -> StudyTrainer:
    """A trial's trainer on the unchanged base."""
    seed_everything(settings.study.seed)
    config = base_check.config_for(settings, Path(survey.base.directory))
    config = configured(config, Hyperparameters(1e-9, 0.01), STEPS, settings.training, settings.study.seed)
    return StudyTrainer(config, Trainee(config), folder / "coqui", 1)
