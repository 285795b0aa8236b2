"""The logs of coqui's trainer, read as they were written; what is wrong with their numbers: corrections.py.

Formats, from the console loggers of TTS 0.0.14 to coqui-tts-trainer 0.4.0: steps with and without the time, numbers
with five digits or all, colours or none, an epoch's training averages in a block of their own (old) or only as the
running averages in brackets (since 2022).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath

from search.errors import UserError
from search.text import printable

COMPONENTS = ("loss_text_ce", "loss_mel_ce")  # GPTTrainer.train_step: `loss` is their sum

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_EPOCH = re.compile(r"> EPOCH: (\d{1,9})/")
_STEP = re.compile(r"STEP: (\d{1,12})/(-?\d{1,12}) -- GLOBAL_STEP: (\d{1,12})")
_EVAL_STEP = re.compile(r"--> STEP: \d+\s*$")  # print_eval
_VALUE = re.compile(r"\| > (\w+):\s*(\S+)(?:\s+\(([^()\s]+)\))?")
_BEST = re.compile(r"> BEST MODEL : (.+\S)")
_EVAL_SAMPLES = re.compile(r"Total eval samples after filtering: (\d{1,12})")


@dataclass
class Epoch:
    """What the log says of one epoch, as written: the training loss divided, the text loss weighted."""

    index: int | None = None  # from 0; None where the log begins within an epoch
    micro_steps: int | None = None  # made in the whole run at the last printed step of the epoch
    printed: tuple[int, int] | None = None  # (number, of how many) of that step within the epoch
    train: dict[str, float] = field(default_factory=dict)  # averages over the epoch, up to that step
    eval: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0  # begun within the epoch; they share one average
    best: str | None = None  # name of the file that was written as the best model so far

    @property
    def is_empty(self) -> bool:
        return not (self.train or self.eval)


@dataclass
class Log:
    """One log, or the scalars of a TensorBoard folder."""

    name: str
    epochs: list[Epoch] = field(default_factory=list)
    # Of each printed `loss` with its components: the numbers of accumulation steps that their digits allow.
    accumulations: list[tuple[float, float]] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)  # (micro-steps of the run, learning rate)
    grad_norms: list[float] = field(default_factory=list)
    eval_samples: int | None = None
    starts: int = 0  # of the trainer on this log: a continued run appends

    @property
    def trained_epochs(self) -> int:
        """Epochs in which steps were made, also those of earlier logs of a continued run."""
        return max(((e.index or 0) + 1 for e in self.epochs if e.micro_steps is not None), default=0)


def read_log(path: Path) -> Log:
    """The log in `path`. Raises UserError for a file that cannot be read, or that coqui's trainer did not write."""
    reader = _Reader(path.name)
    for line in _lines(path):
        reader.read(_COLOUR.sub("", line))
    log = reader.finished()
    if not log.epochs:
        raise UserError(
            f"{printable(str(path))} has no epoch that coqui's trainer logged ('> EPOCH:', 'GLOBAL_STEP:', 'EVAL"
            " PERFORMANCE'); give a run's trainer_0_log.txt, or the folder that holds it"
        )
    return log


def allowed_accumulation(loss: str, components: Sequence[str]) -> tuple[float, float] | None:
    """Least and greatest accumulation with which `components` sum up to `loss` times it; None for no loss above 0.

    Half a unit of each last digit is allowed for, and 1e-4 for the arithmetic of float32.
    """
    try:
        (low, high), parts = _range(loss), [_range(part) for part in components]
    except (InvalidOperation, OverflowError):
        return None
    least, most = sum(p[0] for p in parts), sum(p[1] for p in parts)
    if not all(map(isfinite, (low, high, least, most))) or low <= 0 or least <= 0:
        return None
    return least / high * (1 - 1e-4), most / low * (1 + 1e-4)


def _range(number: str) -> tuple[float, float]:
    value = Decimal(number)
    exponent = value.as_tuple().exponent
    half = 0.5 * 10.0**exponent if isinstance(exponent, int) else 0.0
    return float(value) - half, float(value) + half


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")  # as PowerShell writes what it redirects
        if b"\0" in start and not wide:
            raise UserError(f"{printable(str(path))} is no text; give a log of coqui's trainer, or a run folder")
        with path.open(encoding="utf-16" if wide else "utf-8", errors="replace") as lines:
            yield from lines
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be read: {error.strerror}") from error


class _Reader:
    """Line by line. Values belong to the block whose heading came last."""

    def __init__(self, name: str) -> None:
        self.log = Log(name)
        self._epoch = Epoch()
        self._block = ""  # "step", "train", "eval" or "" for lines of no interest
        self._step: dict[str, tuple[str, str | None]] = {}  # value and running average of the current step

    def finished(self) -> Log:
        self._close_step()
        self._close_epoch()
        return self.log

    def read(self, line: str) -> None:
        if found := _VALUE.search(line):
            self._value(*found.groups())
        elif found := _EPOCH.search(line):
            self._close_step()
            self._close_epoch()
            self._epoch = Epoch(int(found[1]))
        elif found := _STEP.search(line):
            self._close_step()
            number, count, total = map(int, found.groups())
            self._epoch.micro_steps, self._epoch.printed = total, (number, count)
            self._block = "step"
        else:
            self._heading(line)

    def _heading(self, line: str) -> None:
        if "--> EVAL PERFORMANCE" in line:
            self._block = "eval"
        elif "--> TRAIN PERFORM" in line:  # "PERFORMACE", as coqui spells it
            self._close_step()  # its running averages give way to the epoch's
            self._block = "train"
        elif _EVAL_STEP.search(line):
            self._block = ""
        elif "> EVALUATION" in line:
            self._epoch.evaluations += 1
            self._block = ""
        elif "> Training Environment" in line:
            self.log.starts += 1
            self._block = ""
        elif found := _BEST.search(line):
            self._epoch.best = file_name(found[1])
        elif found := _EVAL_SAMPLES.search(line):
            self.log.eval_samples = int(found[1])

    def _value(self, name: str, value: str, average: str | None) -> None:
        if self._block == "step":
            self._step[name] = (value, average)
        elif self._block:
            number = _number(value)
            block = self._epoch.eval if self._block == "eval" else self._epoch.train
            if number is not None:
                block[name.removeprefix("avg_")] = number

    def _close_step(self) -> None:
        """Takes a step's block, now complete, into the epoch and the log."""
        step, self._step = self._step, {}
        for name, (value, average) in step.items():
            number, mean = _number(value), _number(average)
            if mean is not None:
                self._epoch.train[name] = mean
            if number is not None and name == "current_lr":
                self.log.rates.append((self._epoch.micro_steps or 0, number))
            if number is not None and name == "grad_norm":
                self.log.grad_norms.append(number)
        for column in (0, 1):
            loss, *parts = (step.get(name, (None, None))[column] for name in ("loss", *COMPONENTS))
            if loss is not None and all(part is not None for part in parts):
                found = allowed_accumulation(loss, [part for part in parts if part is not None])
                self.log.accumulations += [found] if found else []

    def _close_epoch(self) -> None:
        epoch = self._epoch
        if "step_time" in epoch.eval:  # run_eval is off: the trainer prints its training averages under this heading
            epoch.train, epoch.eval = epoch.eval, {}
        if not epoch.is_empty:
            self.log.epochs.append(epoch)
        self._epoch = Epoch()


def file_name(path: str) -> str:
    """The last part of a path, of either kind of system."""
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # "tensor(0.5, device='cuda:0')"
