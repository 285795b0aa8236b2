"""The logs of coqui's trainer, read as they were written; corrections.py says what is wrong with their numbers.

Formats, from TTS 0.17, the first with XTTS, to coqui-tts-trainer 0.4.0: numbers with five digits or all, with or
without colours. An epoch's training averages are the running averages in brackets behind its last printed step.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PureWindowsPath

from search.errors import UserError
from search.text import printable

COMPONENTS = ("loss_text_ce", "loss_mel_ce")  # GPTTrainer.train_step: `loss` is their sum

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_EPOCH = re.compile(r"> EPOCH: (\d{1,9})/")
_STEP = re.compile(r"STEP: \d{1,12}/(-?\d{1,12}) -- GLOBAL_STEP: (\d{1,12})")
_VALUE = re.compile(r"\| > (\w+):\s*(\S+)(?:\s+\(([^()\s]+)\))?")
_BEST = re.compile(r"> BEST MODEL : (.+\S)")
# Headings of blocks that are of no interest: "PERFORMACE", as coqui spells it; a step of an evaluation (print_eval).
_OTHER = re.compile(r"--> TRAIN PERFORM|--> STEP: \d+\s*$|> EVALUATION|> Training Environment")


@dataclass
class Epoch:
    """What the log says of one epoch, as written: the training loss divided, the text loss weighted."""

    index: int | None = None  # from 0; None where the log begins within an epoch
    micro_steps: int | None = None  # made in the whole run at the last printed step of the epoch
    train: dict[str, float] = field(default_factory=dict)  # averages over the epoch, up to that step
    eval: dict[str, float] = field(default_factory=dict)
    best: str | None = None  # name of the file that was written as the best model so far


@dataclass
class TrainerLog:
    """One log."""

    epochs: list[Epoch] = field(default_factory=list)
    accumulations: list[float] = field(default_factory=list)  # (text + mel) / loss, of each printed training loss
    rates: list[float] = field(default_factory=list)  # of the printed steps
    batches: int | None = None  # of an epoch

    @property
    def trained_epochs(self) -> int:
        """Epochs in which steps were made, also those of earlier logs of a continued run."""
        return max(((e.index or 0) + 1 for e in self.epochs if e.micro_steps is not None), default=0)


def read_log(path: Path) -> TrainerLog:
    """The log in `path`. Raises UserError for a file that cannot be read, or that coqui's trainer did not write."""
    reader = _Reader()
    for line in _lines(path):
        reader.read(_COLOUR.sub("", line))
    reader.close_epoch()
    if not reader.log.epochs:
        raise UserError(
            f"{printable(str(path))} has no epoch that coqui's trainer logged ('> EPOCH:', 'GLOBAL_STEP:', 'EVAL"
            " PERFORMANCE'); give a run's trainer_0_log.txt, or the folder that holds it"
        )
    return reader.log


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

    def __init__(self) -> None:
        self.log = TrainerLog()
        self._epoch = Epoch()
        self._block = ""  # "step", "eval", or "" for lines of no interest
        self._step: dict[str, tuple[float | None, float | None]] = {}  # value and running average of the current step

    def read(self, line: str) -> None:
        if found := _VALUE.search(line):
            name, value, average = found.groups()
            if self._block == "step":
                self._step[name] = _number(value), _number(average)
            elif self._block == "eval" and (number := _number(value)) is not None:
                self._epoch.eval[name.removeprefix("avg_")] = number
        elif found := _EPOCH.search(line):
            self.close_epoch()
            self._epoch = Epoch(int(found[1]))
        elif found := _STEP.search(line):
            self._close_step()
            self._epoch.micro_steps, self._block = int(found[2]), "step"
            self.log.batches = int(found[1]) + 1
        elif "--> EVAL PERFORMANCE" in line:
            self._block = "eval"
        elif found := _BEST.search(line):
            self._epoch.best = PureWindowsPath(found[1]).name  # which parts paths at slashes, too
        elif _OTHER.search(line):
            self._block = ""

    def _close_step(self) -> None:
        """Takes a step's block, now complete, into the epoch and the log."""
        step, self._step = self._step, {}
        self._epoch.train.update({name: mean for name, (_, mean) in step.items() if mean is not None})
        rate, _ = step.get("current_lr", (None, None))
        if rate is not None:
            self.log.rates.append(rate)
        for column in (0, 1):
            loss, *parts = (step.get(name, (None, None))[column] for name in ("loss", *COMPONENTS))
            if loss and None not in parts and isfinite(ratio := sum(p or 0.0 for p in parts) / loss) and ratio > 0:
                self.log.accumulations.append(ratio)

    def close_epoch(self) -> None:
        self._close_step()
        epoch, self._epoch = self._epoch, Epoch()
        if "step_time" in epoch.eval:  # with run_eval off the trainer prints its training averages under this heading
            epoch.eval = {}
        if epoch.train or epoch.eval:
            self.log.epochs.append(epoch)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # "tensor(0.5, device='cuda:0')"
