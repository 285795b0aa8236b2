"""One run, from its spec to its record: what the process of a trial or of a full run calls."""

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

from search.errors import UserError
from search.files import write_text
from search.settings.knobs import run_fields
from search.settings.sections import Training
from search.study.spoken import Speech
from search.training import base, corpus
from search.training.batches import PreparedDataset, training_batches
from search.training.evaluation import Evaluator, evaluation_sets, read_sets
from search.training.new_rows import NewRows
from search.training.record import Step
from search.training.run_files import RunFiles
from search.training.speech import Speaker
from search.training.state import AGAIN, RunState
from search.training.trainee import Trainee
from search.training.trainer import Diverged, StudyTrainer
from search.trial import STATE_FOLDER, Caller, Evaluation, Prepared, RunRecord, StopReason, TrialSpec
from space.hyperparameters import Hyperparameters


def seed_everything(seed: int) -> None:
    """Before the model is made: coqui's trainer seeds only after that."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


@dataclass(frozen=True)
class Setup:
    """A run ready to train: the model on its device, and where its batches and evaluations come from."""

    trainer: StudyTrainer
    evaluator: Evaluator
    batches: Iterator[dict[str, Any]]
    corpus: corpus.Corpus
    model: Trainee
    prepared: Prepared
    seconds: float  # that this took


def build(spec: TrialSpec) -> Setup:
    """The run of `spec`, its random state seeded before the model is made. Raises UserError."""
    started = time.monotonic()
    if spec.device is not None and not torch.cuda.is_available():  # coqui's trainer would use the CPU
        raise UserError(f"GPU {spec.device}, on which the run is to train, is gone; see what nvidia-smi says")
    prepared = Prepared.from_json((Path(spec.prepared) / "prepared.json").read_text(encoding="utf-8"))
    seed_everything(spec.seed)
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
    batches, seconds = training_batches(dataset, spec.batch_size), time.monotonic() - started
    return Setup(trainer, Evaluator(model, sets), batches, clips, model, prepared, seconds)


class NoCaller(Caller):
    """The `Caller` of a run that no one follows."""


@dataclass(frozen=True)
class Ended:
    """A run that ended by itself or was stopped."""

    reason: StopReason
    record: RunRecord
    evaluations: list[Evaluation]
    speech: Speech | None


Judge = Callable[[Sequence[Evaluation]], StopReason | None]


def run_trial(spec: TrialSpec, caller: Caller | None = None, judge: Judge = lambda _: None) -> Ended:
    """Trains as `spec` says, and writes the run's files into its directory.

    The reason is FINISHED, DIVERGED, what `judge` says of the evaluations so far or, once the caller asks to stop,
    STOPPED_BY_USER; any other end is an exception. On a CPU the same spec gives the same evaluations, bit by bit,
    whatever runs beside it.

    It says "evaluation" with each Evaluation, and "trained" with the reason and the record once the training is over
    and its files are written. Then it speaks, if the spec asks for that and the caller still wants it. With
    `spec.save_seconds` the run keeps its state and resumes it: it says the evaluations made before again, and a stop
    takes effect after the optimizer step. It then also says "step" with the optimizer steps done: before the first
    one, and after each. Without `spec.keeps_best` it says "saved" with the steps of each state, and "note" with a line
    for the user: where it goes on, that its state is of no use, so that it starts anew, or that none can be saved.
    """
    caller = caller or NoCaller()
    course = begin(spec, caller, judge)
    setup, speaker = course.setup, course.speaker
    with closing(course.state) if course.state else nullcontext():
        reason = course.follow()
    record = setup.trainer.recorder.record(spec.hyperparameters, spec.horizon, setup.seconds)
    write_text(Path(spec.directory) / "record.json", json.dumps(asdict(record), indent=2))
    caller.say("trained", reason=reason, record=asdict(record))
    spoken = None
    if speaker is not None and reason != StopReason.DIVERGED:
        spoken = speaker.speak(setup.corpus, setup.prepared, caller.is_wanted)
    return Ended(reason, record, course.evaluations, spoken)


def begin(spec: TrialSpec, caller: Caller, judge: Judge) -> "Course":
    """The run where its state left it, or at its start. Raises UserError for a state that `keeps_best`, and cannot be
    used; one from elsewhere is removed then."""
    started = time.monotonic()
    setup = build(spec)
    speaker = Speaker(spec, setup.model) if spec.sentences else None
    state = None
    if spec.save_seconds is not None:
        prepared = setup.prepared
        run = None if spec.keeps_best else f"1 {spec.course} {prepared.data_fingerprint} {prepared.base_fingerprint}"
        state = RunState(Path(spec.directory) / STATE_FOLDER, setup.trainer, spec.save_seconds, run, speaker)
    try:
        return Course(spec, setup, state, started, caller, judge, speaker)
    except UserError as error:
        if spec.keeps_best or state is None:
            raise
        caller.say("note", text=f"{error.args[0].removesuffix(f'; {AGAIN}')}; it starts anew")
        state.last.unlink()
        state.close()
    del setup, speaker, state  # what was half restored, before the next model takes as much memory
    return begin(spec, caller, judge)


@dataclass
class Course:
    """A run from where its state left it, or from its start, to its end."""

    spec: TrialSpec
    setup: Setup
    state: RunState | None
    started: float  # seconds, of the monotonic clock; as if the run had been made in one piece
    caller: Caller
    judge: Judge
    speaker: Speaker | None
    evaluations: list[Evaluation] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Restores the state, if there is one."""
        if self.state is not None:
            made, seconds = self.state.restore()
            if len(self.history) > self.spec.horizon:
                raise UserError(f"{self.state.last} has more steps than the run; {AGAIN}")
            self.evaluations += made
            self.started -= seconds

    @property
    def history(self) -> list[Step]:
        return self.setup.trainer.recorder.history

    def follow(self) -> StopReason:
        """Why the run ended."""
        with RunFiles(self.spec, self.history, self.evaluations) as self._files:
            for evaluation in self.evaluations:
                self.caller.say("evaluation", **asdict(evaluation))
            if self.history and not self.spec.keeps_best:
                self.caller.say("note", text=f"goes on from step {len(self.history)} of {self.spec.horizon}")
            self._say_step(len(self.history))
            # A rule may have fired just before the process ended.
            reason = self.judge(self.evaluations) or self._train()
            self._files.write_steps(self.history)
            self._files.write_end(reason)
        return reason

    def _train(self) -> StopReason:
        # With a state, only its own look after a step may end the run: within a step nothing could be saved.
        stop = self.caller.should_stop if self.state is None else self._show_life
        try:
            for step in self.setup.trainer.steps(self.setup.batches, self.spec.horizon, stop):
                if (reason := self._after(step)) is not None:
                    return reason
        except Diverged as error:
            print(error)
            return StopReason.DIVERGED
        return StopReason.FINISHED if len(self.history) == self.spec.horizon else StopReason.STOPPED_BY_USER

    def _show_life(self) -> bool:
        return self.caller.should_stop() and not self.caller.may_go_on()  # to ask is a sign of life

    def _say_step(self, step: int) -> None:
        if self.state is not None:
            self.caller.say("step", step=step)

    def _evaluate(self, step: int) -> None:
        started = time.monotonic()
        since = self.history[self.evaluations[-1].step if self.evaluations else 0 :]
        self._files.write_steps(self.history)
        train_loss = statistics.fmean(s.loss for s in since)
        evaluation = self.setup.evaluator(step, self.started, train_loss, since[-1].lr)
        self._files.write_evaluation(evaluation)
        self.evaluations.append(evaluation)
        if self.speaker is not None:
            self.speaker.evaluated(evaluation)
        self.caller.say("evaluation", **asdict(evaluation))
        self.setup.trainer.recorder.evaluation_seconds += time.monotonic() - started

    def _after(self, step: int) -> StopReason | None:
        """Evaluates and saves where that is due; why the run ends here, or None."""
        if evaluated := step in self.spec.evaluation_steps:
            self._evaluate(step)
        self._say_step(step)
        reason = self.judge(self.evaluations) if evaluated else None
        if self.state is not None:
            if reason is None and self.caller.should_stop():
                reason = StopReason.STOPPED_BY_USER
            if self.spec.keeps_best:
                if evaluated or reason is not None or self.state.is_due:
                    self.state.save(self.evaluations, time.monotonic() - self.started)
            elif self.caller.may_go_on() and (reason is not None or (self.state.is_due and step < self.spec.horizon)):
                self._save_to_go_on(self.state, step)
        return reason

    def _save_to_go_on(self, state: RunState, step: int) -> None:
        """A run that cannot save goes on without."""
        try:
            state.save(self.evaluations, time.monotonic() - self.started)
        except UserError as error:
            self.caller.say("note", text=error.args[0].partition(";")[0])
        else:
            self.caller.say("saved", step=step)


def run_config(spec: TrialSpec, prepared: Prepared) -> GPTTrainerConfig:
    """The complete coqui config of a run."""
    config = base.config_from_dict(prepared.coqui_config)
    return configured(config, spec.hyperparameters, spec.horizon, spec, spec.seed)


def configured(
    config: GPTTrainerConfig, point: Hyperparameters, horizon: int, training: Training | TrialSpec, seed: int
) -> GPTTrainerConfig:
    """`config`, changed to that of a run. It logs nothing: stock would report at steps of its own."""
    silent = dict.fromkeys(("print_step", "plot_step", "save_step", "log_model_step"), 2**62)
    fields = run_fields(config, point, horizon, training, seed)
    for name, value in {**fields, **silent, "run_name": "run"}.items():
        config[name] = value
    return config
