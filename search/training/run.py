"""One run, from its spec to its record: what a trial's child, `replay` and the tests call."""

import csv
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

from search.knobs import coqui_fields, precision_fields
from search.training import base, corpus
from search.training.batches import PreparedDataset, training_batches
from search.training.evaluation import Evaluator
from search.training.record import Step
from search.training.trainer import Diverged, Stopped, StudyTrainer
from search.trial import Evaluation, Prepared, RunRecord, StopReason, TrialSpec


def seed_everything(seed: int) -> None:
    """Before the model is made: coqui's trainer seeds only after that."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


@dataclass(frozen=True)
class Run:
    """A run ready to train: the model on its device, and where its batches and evaluations come from."""

    trainer: StudyTrainer
    evaluator: Evaluator
    batches: Iterator[dict[str, Any]]


def build(spec: TrialSpec) -> Run:
    """The run of `spec`, its random state seeded before the model is made."""
    prepared = Prepared.from_json((Path(spec.prepared) / "prepared.json").read_text(encoding="utf-8"))
    seed_everything(spec.seed)
    config = run_config(spec, prepared)
    model = base.load_trainee(config, Path(spec.prepared) / "nothing.pth")
    clips = corpus.load(Path(spec.prepared) / "corpus")
    trainer = StudyTrainer(config, model, Path(spec.directory) / "coqui", spec.accumulation)
    evaluator = Evaluator(model, clips, prepared.probe_clips, prepared.seed, spec.eval_batch_size)
    dataset = PreparedDataset(config, clips.train, clips, model.xtts.tokenizer, is_eval=False)
    return Run(trainer, evaluator, training_batches(dataset, spec.batch_size))


def run_trial(
    spec: TrialSpec, report: Callable[[Evaluation], None], should_stop: Callable[[], bool] = lambda: False
) -> tuple[StopReason, RunRecord]:
    """Trains as `spec` says, calling `report` with each evaluation, and writes the run's files into its directory.

    The reason is FINISHED, DIVERGED or, once `should_stop()`, STOPPED_BY_USER; any other end is an exception.
    On a CPU the same spec gives the same evaluations, bit by bit, whatever runs beside it.
    """
    started = time.monotonic()
    run = build(spec)
    setup_seconds = time.monotonic() - started
    recorder = run.trainer.recorder
    directory = Path(spec.directory)
    with RunFiles(directory) as files:

        def evaluate(step: int) -> None:
            since = recorder.history[files.steps_written :]
            files.write_steps(since)
            evaluation = run.evaluator(step, started, statistics.fmean(s.loss for s in since), since[-1].lr)
            files.write_evaluation(evaluation)
            report(evaluation)

        try:
            run.trainer.train(run.batches, spec.horizon, spec.evaluation_steps, evaluate, should_stop)
            reason = StopReason.FINISHED
        except Diverged as error:
            print(error)
            reason = StopReason.DIVERGED
        except Stopped:
            reason = StopReason.STOPPED_BY_USER
        files.write_steps(recorder.history[files.steps_written :])
    record = recorder.record(spec.hyperparameters, spec.horizon, setup_seconds)
    (directory / "record.json").write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    return reason, record


def run_config(spec: TrialSpec, prepared: Prepared) -> GPTTrainerConfig:
    """The complete coqui config of a run."""
    config = base.config_from_dict(prepared.coqui_config)
    for name, value in coqui_fields(spec.hyperparameters, spec.horizon, base.ADAMW).items():
        config[name] = value
    config.batch_size = spec.batch_size
    config.eval_batch_size = spec.eval_batch_size
    config.training_seed = spec.seed
    config.run_name = "run"
    for name, value in precision_fields(spec.precision).items():
        config[name] = value
    # Console lines and dashboards are the study's; stock's would report at its own steps.
    config.print_step = config.plot_step = config.save_step = config.log_model_step = 2**62
    return config


class RunFiles:
    """evaluations.csv, steps.csv and tensorboard/ of a run, complete up to the last evaluation."""

    def __init__(self, directory: Path) -> None:
        self.steps_written = 0
        self._evaluations = (directory / "evaluations.csv").open("w", newline="", encoding="utf-8")
        self._steps = (directory / "steps.csv").open("w", newline="", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(directory / "tensorboard"))
        csv.writer(self._evaluations).writerow([*(f.name for f in fields(Evaluation)), "gap"])
        csv.writer(self._steps).writerow(["step", *(f.name for f in fields(Step))])

    def __enter__(self) -> "RunFiles":
        return self

    def __exit__(self, *_: Any) -> None:
        self._evaluations.close()
        self._steps.close()
        self._tensorboard.close()

    def write_steps(self, steps: list[Step]) -> None:
        for step in steps:
            self.steps_written += 1
            _write_row(self._steps, [self.steps_written, *asdict(step).values()])
            self._tensorboard.add_scalar("train/loss (undivided)", step.loss, self.steps_written)
            self._tensorboard.add_scalar("train/lr", step.lr, self.steps_written)
            self._tensorboard.add_scalar("train/gradient norm before clip", step.norm_before, self.steps_written)
            self._tensorboard.add_scalar("train/gradient norm after clip", step.norm_after, self.steps_written)
        self._steps.flush()

    def write_evaluation(self, evaluation: Evaluation) -> None:
        _write_row(self._evaluations, [*asdict(evaluation).values(), evaluation.gap])
        self._evaluations.flush()
        for name in ("mel_ce", "text_ce", "probe_mel_ce", "probe_text_ce", "gap"):
            self._tensorboard.add_scalar(f"eval/{name}", getattr(evaluation, name), evaluation.step)


def _write_row(file: TextIO, values: list[Any]) -> None:
    csv.writer(file).writerow([f"{v:.8g}" if isinstance(v, float) else v for v in values])
