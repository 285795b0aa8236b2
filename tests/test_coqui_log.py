"""Logs of coqui's trainer, of several versions, and what is told of them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from search.errors import UserError
from search.tools.corrections import EpochLosses, accumulation, corrected, sentences, text_weight
from search.tools.run_log import Log, allowed_accumulation, read_log
from search.tools.tensorboard_events import read_events

# A run with accumulation 8: train .369 beside eval 5.577, as logged. Text .065 + mel 2.887 is 2.952, 8 times .369.
NEW = """\
 > Training Environment:
 | > Backend: Torch
 | > Num. of CPUs: 12

 > Model has 518442047 parameters

\x1b[4m\x1b[1m > EPOCH: 0/999\x1b[0m
 --> /runs/GPT_XTTS_FT-October-15-2025_03+12PM-abc1234
 > Total eval samples after filtering: 40

\x1b[1m > EVALUATION \x1b[0m

  \x1b[1m--> EVAL PERFORMANCE\x1b[0m
     | > avg_loader_time: 0.18054273189642486 \x1b[0m(+0)
     | > avg_loss_text_ce: 0.0671 \x1b[0m(+0)
     | > avg_loss_mel_ce: 5.3329 \x1b[0m(+0)
     | > avg_loss: 5.4 \x1b[0m(+0)

\x1b[4m\x1b[1m > EPOCH: 1/999\x1b[0m

\x1b[1m > TRAINING (2025-10-15 15:12:05) \x1b[0m

\x1b[1m   --> TIME: 2025-10-15 15:12:09 -- STEP: 0/1009 -- GLOBAL_STEP: 0\x1b[0m
     | > current_lr: 5e-06  (5e-06)
     | > loss_text_ce: 0.0681  (0.0681)
     | > loss_mel_ce: 4.0119  (4.0119)
     | > loss: 0.51  (0.51)
     | > grad_norm: 0.0  (0.0)
     | > step_time: 0.9667  (0.9666781425476074)

\x1b[1m   --> TIME: 2025-10-15 15:32:09 -- STEP: 1000/1009 -- GLOBAL_STEP: 1000\x1b[0m
     | > current_lr: 5e-06  (4.9999999999e-06)
     | > loss_text_ce: 0.059  (0.065)
     | > loss_mel_ce: 2.501  (2.887)
     | > loss: 0.32  (0.369)
     | > grad_norm: tensor(0., device='cuda:0')  (0.0)

\x1b[1m > EVALUATION \x1b[0m

\x1b[1m   --> STEP: 3\x1b[0m
     | > loss_text_ce: 0.06  (0.0641)
     | > loss_mel_ce: 5.1  (5.5129)
     | > loss: 5.16  (5.577)

  \x1b[1m--> EVAL PERFORMANCE\x1b[0m
     | > avg_loader_time:\x1b[92m 0.0281 \x1b[0m(-0.1523)
     | > avg_loss_text_ce:\x1b[92m 0.0641 \x1b[0m(-0.0030)
     | > avg_loss_mel_ce:\x1b[91m 5.5129 \x1b[0m(+0.18)
     | > avg_loss:\x1b[91m 5.577 \x1b[0m(+0.177)

 > BEST MODEL : C:\\runs\\GPT_XTTS_FT-October-15-2025_03+12PM-abc1234\\best_model_1010.pth
"""

# The same run as a trainer of 2021 logged it: no time, five digits, the epoch's averages in a block of their own.
OLD = """\
 > EPOCH: 0/1000

 > TRAINING (2021-10-15 15:12:05)

   --> STEP: 999/1010 -- GLOBAL_STEP: 1000
     | > loss_text_ce: 0.05900  (0.06400)
     | > loss_mel_ce: 2.50100  (2.80000)
     | > loss: 0.32000  (0.35800)
     | > current_lr: 0.00001

   --> TRAIN PERFORMACE -- EPOCH TIME: 1208.43 sec -- GLOBAL_STEP: 1010
     | > avg_loss_text_ce: 0.06500
     | > avg_loss_mel_ce: 2.88700
     | > avg_loss: 0.36900
     | > avg_step_time: 1.00098

 > EVALUATION

  --> EVAL PERFORMANCE
     | > avg_loss_text_ce: 0.06410 (+0.00000)
     | > avg_loss_mel_ce: 5.51290 (+0.00000)
     | > avg_loss: 5.57700 (+0.00000)

 > BEST MODEL : /runs/ljspeech-October-15-2021_03+12PM-abc1234/best_model.pth.tar
"""

MILESTONES = {"lr_scheduler": "MultiStepLR", "lr_scheduler_params": {"milestones": [900_000, 2_700_000], "gamma": 0.5}}


def log_of(tmp_path: Path, text: str | bytes) -> Log:
    path = tmp_path / "trainer_0_log.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_log(path)


def told(log: Log, given: int | None = None, **config: Any) -> tuple[list[EpochLosses], list[str]]:
    found = accumulation(log, given)
    losses = corrected(log, found.steps, text_weight(config))
    return losses, sentences(log, losses, found, config, text_weight(config))


def line_with(lines: list[str], *parts: str) -> str:
    (found,) = [line for line in lines if all(part in line for part in parts)]
    return found


@pytest.mark.parametrize("text", [NEW, OLD], ids=["0.4.0", "2021"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "crlf"])
def test_the_gap_of_fifteen_is_one_of_two(tmp_path: Path, text: str, encoding: str) -> None:
    raw = text.replace("\n", "\r\n").encode() if encoding == "crlf" else text.encode(encoding)
    losses, lines = told(log_of(tmp_path, raw))
    last = losses[-1]
    assert last.train_logged == 0.369
    assert last.eval == 5.577
    assert last.gap_logged == pytest.approx(15.11, abs=0.01)
    assert last.train == pytest.approx(2.952)
    assert last.gap == pytest.approx(1.889, abs=1e-3)
    assert last.train_text_ce == pytest.approx(6.5)
    assert last.eval_text_ce == pytest.approx(6.41)
    assert (last.train_mel_ce, last.eval_mel_ce) == (2.887, 5.5129)
    line = line_with(lines, "as logged")
    for part in ("5.577", "0.369", "15.1x", "8 accumulation steps", "2.952", "1.89x"):
        assert part in line
    assert "0.0641 is 6.41 nats per text token" in line_with(lines, "text loss")


def test_epochs_as_they_were_written(tmp_path: Path) -> None:
    log = log_of(tmp_path, NEW)
    assert [(e.index, e.micro_steps, e.evaluations, e.best) for e in log.epochs] == [
        (0, None, 1, None),
        (1, 1000, 1, "best_model_1010.pth"),
    ]
    assert log.rates == [(0, 5e-6), (1000, 5e-6)]
    assert (log.eval_samples, log.starts, log.grad_norms) == (40, 1, [0.0])
    assert log.epochs[1].train["loss"] == 0.369  # steps of an evaluation are none of training
    assert log_of(tmp_path, NEW.replace(" > EVALUATION ", "")).epochs[1].train["loss"] == 0.369
    assert log_of(tmp_path, OLD).epochs[0].best == "best_model.pth.tar"


def test_without_an_evaluation_the_trainer_prints_its_training_averages_as_one(tmp_path: Path) -> None:
    text = OLD.replace("     | > avg_loss: 5.57700", "     | > avg_step_time: 1.0 (+0)\n     | > avg_loss: 0.36900")
    epoch = log_of(tmp_path, text).epochs[0]
    assert epoch.eval == {}
    assert epoch.train["loss"] == 0.369


@pytest.mark.parametrize(
    ("loss", "text", "mel", "steps"),
    [
        ("0.05676170811057091", "0.0332101508975029", "4.7347731590271", 84),
        ("0.06015079841017723", "0.14153452217578888", "2.74570369720459", 48),
        ("5.420003414154053", "0.04028647020459175", "5.379716873168945", 1),
        ("0.369", "0.065", "2.887", 8),
        ("0.023", "0.065", "2.887", 128),  # few digits: several would do, but 1 or 8 would not
    ],
)
def test_what_the_digits_allow(loss: str, text: str, mel: str, steps: int) -> None:
    found = allowed_accumulation(loss, [text, mel])
    assert found is not None
    assert found[0] <= steps <= found[1]
    assert found[1] - found[0] < 0.05 * steps + 1e-3


@pytest.mark.parametrize("loss", ["nan", "inf", "0.0", "-1", "1e999999999", "tensor(1)"])
def test_what_is_no_loss_tells_nothing(loss: str) -> None:
    assert allowed_accumulation(loss, ["0.065", "2.887"]) is None


def test_a_log_without_components_needs_the_accumulation(tmp_path: Path) -> None:
    text = "\n".join(line for line in OLD.splitlines() if "_ce:" not in line)
    losses, lines = told(log_of(tmp_path, text))
    assert (losses[0].train, losses[0].gap) == (None, None)
    assert "--accumulation" in lines[0]
    losses, lines = told(log_of(tmp_path, text), given=8)
    assert losses[0].gap == pytest.approx(1.889, abs=1e-3)
    assert "as given" in lines[0]


def test_an_accumulation_that_changes_is_not_guessed(tmp_path: Path) -> None:
    text = NEW + OLD.replace("0.32000  (0.35800)", "1.28000  (1.43200)")
    losses, lines = told(log_of(tmp_path, text))
    assert losses[-1].train is None
    assert "no one whole number" in lines[0]


def test_a_given_accumulation_that_the_log_contradicts_is_said(tmp_path: Path) -> None:
    losses, lines = told(log_of(tmp_path, NEW), given=4)
    assert losses[-1].train == pytest.approx(4 * 0.369)
    assert "the log's own components say 8" in lines[0]


def test_an_undivided_loss_is_left_as_it_is(tmp_path: Path) -> None:
    text = NEW.replace("0.369)", "2.952)").replace("loss: 0.32 ", "loss: 2.56 ").replace("0.51", "4.08")
    losses, lines = told(log_of(tmp_path, text))
    assert losses[-1].train == 2.952
    assert "is as logged" in line_with(lines, "gap of epoch 1")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**MILESTONES, "scheduler_after_epoch": True}, ["No milestone was ever reached", "count epochs", "900,000"]),
        ({**MILESTONES, "scheduler_after_epoch": False}, ["No milestone was ever reached", "5e-06 in each of 2"]),
        ({"lr_scheduler": "MultiStepLR", "lr_scheduler_params": {"milestones": ["\x1b[2J"]}}, None),
        ({"lr_scheduler": None}, None),
        ({}, None),
    ],
)
def test_milestones(tmp_path: Path, config: dict[str, Any], expected: list[str] | None) -> None:
    _, lines = told(log_of(tmp_path, NEW), **config)
    about = [line for line in lines if "milestone" in line or "rate" in line.split(" was ")[0]]
    assert (about == []) if expected is None else all(part in about[0] for part in expected)


def test_a_milestone_that_acted_is_seen_in_the_rates(tmp_path: Path) -> None:
    text = NEW.replace("current_lr: 5e-06  (4.9", "current_lr: 2.5e-06  (4.9")
    _, lines = told(log_of(tmp_path, text), **MILESTONES, scheduler_after_epoch=True)
    assert "between micro-steps 0 and 1000, from 5e-06 to 2.5e-06" in line_with(lines, "The rate first changed")
    assert not [line for line in lines if "No milestone" in line]


@pytest.mark.parametrize(("clip", "said"), [(0.0, True), (None, True), (0.5, False), ("absent", False)])
def test_a_clip_that_was_off(tmp_path: Path, clip: Any, said: bool) -> None:
    config = {} if clip == "absent" else {"grad_clip": clip}
    _, lines = told(log_of(tmp_path, NEW), **config)
    assert any("No gradient was clipped" in line for line in lines) is said


@pytest.mark.parametrize(
    ("size", "expected"),
    [(8, "the first of its 5 batches, 8 of 40 clips"), (40, None), (None, "where there is more than one")],
)
def test_the_forgotten_eval_batch(tmp_path: Path, size: int | None, expected: str | None) -> None:
    _, lines = told(log_of(tmp_path, NEW), **({"eval_batch_size": size} if size else {}))
    about = [line for line in lines if "leaves out" in line]
    assert (about == []) if expected is None else expected in about[0]


@pytest.mark.parametrize(
    ("evals", "lowest", "rise"),
    [
        ([4.565, 4.524, 4.674, 4.956, 5.325, 5.723], 1, 3),  # Oct-15
        ([3.415, 4.717, 5.302, 5.572], 0, 2),  # Oct-13
        ([4.0, 4.1, 4.05, 4.2, 4.1], 0, None),
        ([4.0, 4.1, math.nan, 4.2], 0, 3),
    ],
)
def test_the_course_of_the_evals(tmp_path: Path, evals: list[float], lowest: int, rise: int | None) -> None:
    epochs = [
        f"> EPOCH: {i}/9\n --> STEP: 9/9 -- GLOBAL_STEP: {10 * i + 9}\n | > loss: 1 (1)\n > EVALUATION\n"
        f" --> EVAL PERFORMANCE\n | > avg_loss: {value} (+0)\n"
        for i, value in enumerate(evals)
    ]
    _, lines = told(log_of(tmp_path, "".join(epochs)))
    assert f"that of epoch {lowest}," in line_with(lines, "lowest logged eval")
    assert any(line.endswith(f"in a row at epoch {rise}.") for line in lines) is (rise is not None)


def test_an_average_that_became_nan_is_said(tmp_path: Path) -> None:
    losses, lines = told(log_of(tmp_path, NEW.replace("(2.887)", "(nan)").replace("(0.369)", "(nan)")))
    assert losses[-1].gap is None or math.isnan(losses[-1].gap)
    assert line_with(lines, "epoch 1 is NaN")
    assert not [line for line in lines if "as logged, eval" in line]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "has no epoch"),
        (b"one line\nof something else\n", "has no epoch"),
        (b"PK\x03\x04\0\0\0\0", "is no text"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    with pytest.raises(UserError, match=part):
        log_of(tmp_path, content)


def test_numbers_too_long_for_a_number_do_no_harm(tmp_path: Path) -> None:
    log = log_of(tmp_path, NEW + f"> EPOCH: {'9' * 5000}/1\n     | > loss: {'9' * 5000} (1)\n")
    assert [e.index for e in log.epochs] == [0, 1]


def test_tensorboard_scalars_stand_in_for_a_log(tmp_path: Path) -> None:
    """Tags as coqui's dashboard loggers make them."""
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("EvalStats/avg_loss", 5.4, 0)
        for step in (0, 1000):
            for name, value in {"loss_text_ce": 0.065, "loss_mel_ce": 2.887, "loss": 0.369, "current_lr": 5e-6}.items():
                writer.add_scalar(f"TrainIterStats/{name}", value, step)
        for name, value in {"loss_text_ce": 0.065, "loss_mel_ce": 2.887, "loss": 0.369}.items():
            writer.add_scalar(f"TrainEpochStats/avg_{name}", value, 1010)
        writer.add_scalar("EvalStats/avg_loss", 9.0, 505)  # within the epoch
        writer.add_scalar("EvalStats/avg_loss", 5.577, 1010)
    losses, lines = told(read_events(tmp_path), **MILESTONES, scheduler_after_epoch=True)
    assert [(e.epoch, e.micro_steps) for e in losses] == [(0, None), (1, 1010)]
    assert losses[0].eval == pytest.approx(5.4)
    assert losses[1].gap == pytest.approx(1.889, abs=1e-3)
    assert line_with(lines, "No milestone was ever reached")
    json.dumps([e.__dict__ for e in losses])
