"""One run, from its spec to its record: what a trial's child, `replay` and the tests call."""

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

from search.files import write_text
from search.settings.knobs import refuse_point, run_fields
from search.settings.sections import Training
from search.training import base, corpus
from search.training.batches import PreparedDataset, training_batches
from search.training.evaluation import Evaluator, evaluation_sets, read_sets
from search.training.new_rows import NewRows
from search.training.run_files import RunFiles
from search.training.speech import Speaker
from search.training.state import RunState
from search.training.trainee import Trainee
from search.training.trainer import Diverged, Stopped, StudyTrainer
from search.trial import Evaluation, Prepared, RunRecord, StopReason, TrialSpec
from space.hyperparameters import Hyperparameters


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
    corpus: corpus.Corpus
    model: Trainee
    prepared: Prepared


def build(spec: TrialSpec) -> Run:
    """The run of `spec`, its random state seeded before the model is made."""
    prepared = Prepared.from_json((Path(spec.prepared) / "prepared.json").read_text(encoding="utf-8"))
    seed_everything(spec.seed)
    refuse_point(spec.hyperparameters, prepared)
    config = run_config(spec, prepared)
    model = Trainee(config)
    # Before the optimizer is made. Not `xtts.gpt.transformer`, which coqui's GPT does not have.
    model.xtts.gpt.gpt.h[: spec.hyperparameters.frozen_layers].requires_grad_(False)
    clips = corpus.load(Path(spec.prepared) / "corpus")
    trainer = StudyTrainer(config, model, Path(spec.directory) / "coqui", spec.accumulation, pin_memory=spec.pin_memory)
    if (factor := spec.hyperparameters.new_rows_lr_factor) != 1:
        # After the recorder's hook, which refuses gradients that are not finite before anything is touched.
        trainer.recorder.new_rows = NewRows(model.xtts.gpt, prepared.new_rows, factor, trainer.optimizer[0])
    sets = read_sets(Path(spec.prepared), spec.eval_batch_size) or evaluation_sets(
        model, clips, prepared.probe_clips, prepared.seed, spec.eval_batch_size
    )
    dataset = PreparedDataset(config, clips.train, clips, model.xtts.tokenizer, is_eval=False)
    return Run(trainer, Evaluator(model, sets), training_batches(dataset, spec.batch_size), clips, model, prepared)


def run_trial(
    spec: TrialSpec,
    report: Callable[[Evaluation], None],
    should_stop: Callable[[], bool] = lambda: False,
    *,
    judge: Callable[[Sequence[Evaluation]], StopReason | None] = lambda _: None,
    stepped: Callable[[int], None] = lambda _: None,
    trained: Callable[[StopReason, RunRecord], bool] = lambda *_: True,
    go_on: Callable[[], bool] = lambda: True,
) -> tuple[StopReason, RunRecord]:
    """Trains as `spec` says, calling `report` with each evaluation, and writes the run's files into its directory.

    The reason is FINISHED, DIVERGED, what `judge` says of the evaluations so far or, once `should_stop()`,
    STOPPED_BY_USER; any other end is an exception. On a CPU the same spec gives the same evaluations, bit by bit,
    whatever runs beside it. With `spec.save_seconds` the run keeps its state and goes on from there: it reports the
    evaluations made before again, and a stop takes effect after the optimizer step. `stepped` is called with the
    optimizer steps done: before the first one, and after each.

    Once the training is over, and its files are written, `trained` is told how it ended, and says whether a run whose
    spec asks for it shall speak now; `go_on` is asked before each sentence. `speech.json` then tells what it spoke.
    """
    started = time.monotonic()
    run = build(spec)
    setup_seconds = time.monotonic() - started
    directory = Path(spec.directory)
    with ExitStack() as stack:
        state = None
        if spec.save_seconds is not None:
            state = stack.enter_context(RunState(directory / "state", run.trainer, spec.save_seconds))
        speaker = Speaker(spec, run.model) if spec.sentences else None
        course = Course(run, state, started, report, should_stop, judge, stepped, speaker)
        files = RunFiles(spec, run.trainer.recorder.history, course.evaluations)
        reason = course.follow(spec, stack.enter_context(files))
    record = run.trainer.recorder.record(spec.hyperparameters, spec.horizon, setup_seconds)
    write_text(directory / "record.json", json.dumps(asdict(record), indent=2))
    may_speak = trained(reason, record) and reason != StopReason.DIVERGED
    if speaker is not None and may_speak and (spoken := speaker.speak(run.corpus, run.prepared, go_on)) is not None:
        write_text(directory / "speech.json", json.dumps(spoken.to_dict(), ensure_ascii=False, indent=2))
    return reason, record


class Course:
    """A run from where its state left it, or from its start, to its end."""

    def __init__(
        self,
        run: Run,
        state: RunState | None,
        started: float,
        report: Callable[[Evaluation], None],
        should_stop: Callable[[], bool],
        judge: Callable[[Sequence[Evaluation]], StopReason | None],
        stepped: Callable[[int], None],
        speaker: Speaker | None,
    ) -> None:
        """Restores the state, if there is one. `started` is the process's start of the run on the monotonic clock."""
        self.evaluations: list[Evaluation] = []
        self._run, self._state, self._started = run, state, started
        self._report, self._should_stop, self._judge, self._stepped = report, should_stop, judge, stepped
        self._speaker = speaker
        if state is not None and (progress := state.restore()) is not None:
            self.evaluations += progress.evaluations
            self._started -= progress.seconds

    def follow(self, spec: TrialSpec, files: RunFiles) -> StopReason:
        """Why the run ended."""
        trainer, self._files = self._run.trainer, files
        for evaluation in self.evaluations:
            self._report(evaluation)
        self._stepped(trainer.recorder.steps)
        reason = self._judge(self.evaluations)  # a rule may have fired just before the process ended
        if reason is None:
            # With a state, only its own look after a step may end the run: within a step nothing could be saved.
            stop = self._should_stop if self._state is None else self._go_on
            try:
                trainer.train(
                    self._run.batches, spec.horizon, spec.evaluation_steps, self._evaluate, stop, self._after_step
                )
                reason = StopReason.FINISHED
            except Diverged as error:
                print(error)
                reason = StopReason.DIVERGED
            except Stopped as stopped:
                reason = stopped.reason
        files.write_steps(trainer.recorder.history)
        files.write_end(reason)
        return reason

    def _go_on(self) -> bool:
        self._should_stop()  # the question is a sign of life
        return False

    def _evaluate(self, step: int) -> None:
        history = self._run.trainer.recorder.history
        since = history[self.evaluations[-1].step if self.evaluations else 0 :]
        self._files.write_steps(history)
        train_loss = statistics.fmean(s.loss for s in since)
        evaluation = self._run.evaluator(step, self._started, train_loss, since[-1].lr)
        self._files.write_evaluation(evaluation)
        self.evaluations.append(evaluation)
        if self._speaker is not None:
            self._speaker.evaluated(evaluation)
        self._report(evaluation)

    def _after_step(self, step: int) -> None:
        self._stepped(step)
        evaluated = bool(self.evaluations) and self.evaluations[-1].step == step
        reason = self._judge(self.evaluations) if evaluated else None
        if self._state is not None:
            if reason is None and self._should_stop():
                reason = StopReason.STOPPED_BY_USER
            if evaluated or reason is not None or self._state.is_due:
                self._state.save(self.evaluations, time.monotonic() - self._started)
        if reason is not None:
            raise Stopped(reason)


def run_config(spec: TrialSpec, prepared: Prepared) -> GPTTrainerConfig:
    """The complete coqui config of a run."""
    config = base.config_from_dict(prepared.coqui_config)
    return completed(config, spec.hyperparameters, spec.horizon, spec, spec.seed)


def completed(
    config: GPTTrainerConfig, point: Hyperparameters, horizon: int, training: Training | TrialSpec, seed: int
) -> GPTTrainerConfig:
    """`config`, changed to that of a run. It logs nothing: stock would report at steps of its own."""
    silent = dict.fromkeys(("print_step", "plot_step", "save_step", "log_model_step"), 2**62)
    fields = run_fields(config, point, horizon, training, seed)
    for name, value in {**fields, **silent, "run_name": "run"}.items():
        config[name] = value
    return config
