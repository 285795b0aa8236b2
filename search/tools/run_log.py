"""The logs of coqui's trainer, read as they were written; corrections.py says what is wrong with their numbers.

Formats, from TTS 0.17, the first with XTTS, to coqui-tts-trainer 0.4.0: numbers with five digits or all, with or
without colours. An epoch's training averages are the running averages in brackets behind its last printed step.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path, PureWindowsPath

from search.errors import UserError
from search.text import printable

Values = dict[str, tuple[float | None, float | None]]  # value and running average by name

COMPONENTS = ("loss_text_ce", "loss_mel_ce")  # GPTTrainer.train_step: `loss` is their sum

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_VALUE = re.compile(r"\| > (\w+):\s*(\S+)(?:\s+\(([^()\s]+)\))?")
_HEADING = re.compile(
    r"> EPOCH: (?P<epoch>\d{1,9})/|STEP: \d{1,12}/(?P<last>-?\d{1,12}) -- GLOBAL_STEP: (?P<step>\d{1,12})"
    r"|--> (?P<eval>EVAL) PERFORMANCE|> BEST MODEL : (?P<best>.+\S)"
    # Blocks of no interest: "PERFORMACE", as coqui spells it; a step of an evaluation (print_eval).
    r"|--> TRAIN PERFORM|--> STEP: \d+\s*$|> EVALUATION|> Training Environment"
)


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
    log, epochs = TrainerLog(), [Epoch()]
    for heading, values in _blocks(path):
        epoch = epochs[-1]
        if heading["epoch"]:
            epochs.append(Epoch(int(heading["epoch"])))
        elif heading["step"]:
            epoch.micro_steps, log.batches = int(heading["step"]), int(heading["last"]) + 1
            epoch.train.update({name: mean for name, (_, mean) in values.items() if mean is not None})
            rate, _ = values.get("current_lr", (None, None))
            log.rates += [] if rate is None else [rate]
            log.accumulations += _ratios(values)
        elif heading["eval"] and "avg_step_time" not in values:  # training averages, with run_eval off
            epoch.eval = {name.removeprefix("avg_"): value for name, (value, _) in values.items() if value is not None}
        elif heading["best"]:
            epoch.best = PureWindowsPath(heading["best"]).name  # which parts paths at slashes, too
    log.epochs = [epoch for epoch in epochs if epoch.train or epoch.eval]
    if not log.epochs:
        raise UserError(
            f"{printable(str(path))} has no epoch that coqui's trainer logged ('> EPOCH:', 'GLOBAL_STEP:', 'EVAL"
            " PERFORMANCE'); give a run's trainer_0_log.txt, or the folder that holds it"
        )
    return log


def _blocks(path: Path) -> Iterator[tuple[re.Match[str], Values]]:
    """Each heading, with the values below it."""
    heading: re.Match[str] | None = None
    values: Values = {}
    for line in map(partial(_COLOUR.sub, ""), _lines(path)):
        if found := _VALUE.search(line):
            values[found[1]] = _number(found[2]), _number(found[3])
        elif found := _HEADING.search(line):
            if heading:
                yield heading, values
            heading, values = found, {}
    if heading:
        yield heading, values


def _ratios(values: Values) -> Iterator[float]:
    """(text + mel) / loss of a step and of its running averages, where they are logged."""
    for column in (0, 1):
        loss, *parts = (values.get(name, (None, None))[column] for name in ("loss", *COMPONENTS))
        if loss and None not in parts and isfinite(ratio := sum(part or 0.0 for part in parts) / loss) and ratio > 0:
            yield ratio


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


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # "tensor(0.5, device='cuda:0')"
