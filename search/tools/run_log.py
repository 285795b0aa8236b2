"""The logs of coqui's trainer, read as they were written; corrections.py says what is wrong with their numbers.

Formats, from the console loggers of TTS 0.0.14 to coqui-tts-trainer 0.4.0: steps with and without the time, numbers
with five digits or all, with or without colours, an epoch's training averages in a block of their own (old) or only as
the running averages in brackets (since 2022).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path, PureWindowsPath

from search.errors import UserError
from search.text import printable

COMPONENTS = ("loss_text_ce", "loss_mel_ce")  # GPTTrainer.train_step: `loss` is their sum

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_EPOCH = re.compile(r"> EPOCH: (\d{1,9})/")
_STEP = re.compile(r"STEP: (\d{1,12})/(-?\d{1,12}) -- GLOBAL_STEP: (\d{1,12})")
_VALUE = re.compile(r"\| > (\w+):\s*(\S+)(?:\s+\(([^()\s]+)\))?")
_BEST = re.compile(r"> BEST MODEL : (.+\S)")
_EVAL_SAMPLES = re.compile(r"Total eval samples after filtering: (\d{1,12})")
# Headings of blocks: "PERFORMACE", as coqui spells it; a step of an evaluation (print_eval) is of no interest.
_BLOCKS = {
    r"--> EVAL PERFORMANCE": "eval",
    r"--> TRAIN PERFORM": "train",
    r"--> STEP: \d+\s*$": "",
    r"> Training Environment": "",
}


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


@dataclass
class TrainerLog:
    """One log, or the scalars of a TensorBoard folder."""

    name: str
    epochs: list[Epoch] = field(default_factory=list)
    # For each printed `loss` with its components: the range of accumulation steps that their digits allow.
    accumulations: list[tuple[float, float]] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)  # (micro-steps of the run, learning rate)
    grad_norms: list[float] = field(default_factory=list)
    eval_samples: int | None = None

    @property
    def trained_epochs(self) -> int:
        """Epochs in which steps were made, also those of earlier logs of a continued run."""
        return max(((e.index or 0) + 1 for e in self.epochs if e.micro_steps is not None), default=0)

    def add_step(self, loss: str, components: Sequence[str]) -> None:
        """Takes one printed training loss with its components."""
        if found := allowed_accumulation(loss, components):
            self.accumulations.append(found)


def read_log(path: Path) -> TrainerLog:
    """The log in `path`. Raises UserError for a file that cannot be read, or that coqui's trainer did not write."""
    reader = _Reader(path.name)
    for line in _lines(path):
        reader.read(_COLOUR.sub("", line))
    reader.close_epoch()
    if not reader.log.epochs:
        raise UserError(
            f"{printable(str(path))} has no epoch that coqui's trainer logged ('> EPOCH:', 'GLOBAL_STEP:', 'EVAL"
            " PERFORMANCE'); give a run's trainer_0_log.txt, or the folder that holds it"
        )
    return reader.log


def allowed_accumulation(loss: str, components: Sequence[str]) -> tuple[float, float] | None:
    """The range of accumulations by which `components` sum up to `loss` times it; None unless `loss` is above 0.

    Allows for half a unit of each last digit, and 1e-4 for float32 arithmetic.
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
        wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")  # PowerShell redirects in UTF-16
        if b"\0" in start and not wide:
            raise UserError(f"{printable(str(path))} is not text; give a log of coqui's trainer, or a run folder")
        with path.open(encoding="utf-16" if wide else "utf-8", errors="replace") as lines:
            yield from lines
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be read: {error.strerror}") from error


class _Reader:
    """Reads line by line. Values belong to the block whose heading came last."""

    def __init__(self, name: str) -> None:
        self.log = TrainerLog(name)
        self._epoch = Epoch()
        self._block = ""  # "step", "train", "eval", or "" for lines of no interest
        self._step: dict[str, tuple[str, str | None]] = {}  # value and running average of the current step

    def read(self, line: str) -> None:
        if found := _VALUE.search(line):
            self._value(*found.groups())
        elif found := _EPOCH.search(line):
            self.close_epoch()
            self._epoch = Epoch(int(found[1]))
        elif found := _STEP.search(line):
            self._close_step()
            number, count, total = map(int, found.groups())
            self._epoch.micro_steps, self._epoch.printed = total, (number, count)
            self._block = "step"
        elif "> EVALUATION" in line:
            self._epoch.evaluations += 1
            self._block = ""
        elif found := _BEST.search(line):
            self._epoch.best = PureWindowsPath(found[1]).name  # which parts paths at slashes, too
        elif found := _EVAL_SAMPLES.search(line):
            self.log.eval_samples = int(found[1])
        elif (block := next((b for heading, b in _BLOCKS.items() if re.search(heading, line)), None)) is not None:
            self._close_step()  # before a "train" block: its averages replace the running ones
            self._block = block

    def _value(self, name: str, value: str, average: str | None) -> None:
        if self._block == "step":
            self._step[name] = (value, average)
        elif self._block and (number := _number(value)) is not None:
            block = self._epoch.eval if self._block == "eval" else self._epoch.train
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
            if loss is not None and None not in parts:
                self.log.add_step(loss, [str(part) for part in parts])

    def close_epoch(self) -> None:
        self._close_step()
        epoch, self._epoch = self._epoch, Epoch()
        if "step_time" in epoch.eval:  # with run_eval off the trainer prints its training averages under this heading
            epoch.train, epoch.eval = epoch.eval, {}
        if epoch.train or epoch.eval:
            self.log.epochs.append(epoch)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # "tensor(0.5, device='cuda:0')"
