"""Logs of coqui's trainer, of several versions, and what is said about them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.tools.corrections import EpochLosses
from search.tools.run_folder import inspect_runs

# A run with accumulation 8: train .369 beside eval 5.577, as logged. Text .065 + mel 2.887 is 2.952, 8 times .369.
NEW = """\
 > Training Environment:
 | > Num. of CPUs: 12

\x1b[4m\x1b[1m > EPOCH: 0/999\x1b[0m
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


def told(tmp_path: Path, text: str | bytes, given: int | None = None, **config: Any) -> tuple[list[EpochLosses], str]:
    """The corrected epochs of a run folder with this log, and all that is said about it."""
    (tmp_path / "trainer_0_log.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (run,) = inspect_runs(tmp_path, given).runs
    return run.epochs, "\n".join(run.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "crlf"])
def test_the_gap_of_fifteen_is_one_of_two(tmp_path: Path, encoding: str) -> None:
    raw = NEW.replace("\n", "\r\n").encode() if encoding == "crlf" else NEW.encode(encoding)
    epochs, said = told(tmp_path, raw)
    last = epochs[-1]
    assert (last.train_logged, last.eval, last.train_mel_ce, last.eval_mel_ce) == (0.369, 5.577, 2.887, 5.5129)
    corrected = (last.gap_logged, last.train, last.gap, last.train_text_ce, last.eval_text_ce)
    assert corrected == pytest.approx((15.11, 2.952, 1.889, 6.5, 6.41), abs=0.01)
    for part in ("eval 5.577 / train 0.369 = 15.1x", "8 accumulation steps", "2.952", "1.89x", "is 6.41 nats per text"):
        assert part in said


WITHOUT_COMPONENTS = "\n".join(line for line in NEW.splitlines() if "_ce:" not in line)
CHANGING = NEW.replace("loss: 0.51  (0.51)", "loss: 4.08  (4.08)")
UNDIVIDED = CHANGING.replace("0.369)", "2.952)").replace("loss: 0.32 ", "loss: 2.56 ")
BY_84 = NEW.replace("0.51 ", "0.04857 ").replace("0.51)", "0.04857)").replace("0.32 ", "0.03048 ")
BY_84 = BY_84.replace("0.369)", "0.03514)")


@pytest.mark.parametrize(
    ("text", "given", "train", "said"),
    [
        (WITHOUT_COMPONENTS, None, None, "The accumulation is unknown: no training step has"),
        (WITHOUT_COMPONENTS, 8, 2.952, "Accumulation 8, as given by --accumulation"),
        (CHANGING, None, None, "not the same whole number throughout the log"),
        (NEW, 4, 1.476, "the log's own components say 8"),
        (BY_84, None, 2.952, "Accumulation 84: loss_text_ce + loss_mel_ce is 84 times loss in 4 of 4"),
        (UNDIVIDED, None, 2.952, "The training loss is logged undivided: the gap of epoch 1 is as logged"),
    ],
)
def test_the_accumulation_is_told_or_asked_for(
    tmp_path: Path, text: str, given: int | None, train: float | None, said: str
) -> None:
    epochs, lines = told(tmp_path, text, given)
    assert epochs[-1].train == (None if train is None else pytest.approx(train, rel=1e-3))
    assert said in lines
    assert ("--accumulation (grad_accum_steps" in lines) == (train is None)


def course_of(evals: Sequence[float]) -> str:
    """The log of a run with these evals, of its epochs from 0 on."""
    return "".join(
        f"> EPOCH: {i}/9\n --> STEP: 9/9 -- GLOBAL_STEP: {10 * i + 9}\n | > loss: 1 (1)\n > EVALUATION\n"
        f" --> EVAL PERFORMANCE\n | > avg_loss: {value} (+0)\n"
        for i, value in enumerate(evals)
    )


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
    _, lines = told(tmp_path, course_of(evals))
    assert f"The lowest logged eval is that of epoch {lowest}," in lines
    assert (f"in a row at epoch {rise}." in lines) is ("in a row" in lines) is (rise is not None)
