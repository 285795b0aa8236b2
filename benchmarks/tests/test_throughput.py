"""The parts of `benchmarks.throughput` on which its figures rest: equal work, the whole of a slot's time, bytes."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.throughput import FULL, SHORT, Form, outside, shares
from benchmarks.ways.run import refuse_unequal, stock_config
from benchmarks.ways.search import PARTS, Times, parts
from benchmarks.ways.usage import bytes_in
from search.settings.settings import resolve
from search.trial import Evaluation, Prepared, TrialSpec, evaluation_steps

BATCH, AN_EPOCH = 20, 3  # of the 60 training clips
STEPS = 2 * AN_EPOCH
Made = tuple[dict[str, Any], Path]


@pytest.fixture
def spec(make_spec: Callable[..., TrialSpec]) -> TrialSpec:
    """Two of stock's epochs, with a milestone within each."""
    return make_spec(
        STEPS, batch_size=BATCH, lr=1e-3, weight_decay=0.3, milestones=(1 / 6, 5 / 6), gamma=0.5, clip_norm=0.8, seed=7
    )


def by_stock(spec: TrialSpec, prepared: Prepared, folder: Path) -> Made:
    """What the meter found, and the trainer's folder. The batches are made in this process, which costs less here."""
    from benchmarks.ways import stock

    config = {**stock_config(spec, prepared, folder / "run"), "num_loader_workers": 0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    trainer = stock.train(folder / "config.json", folder / "found.json", spec.accumulation)
    assert trainer.train_loader is not None and trainer.eval_loader is not None
    assert trainer.train_loader.dataset.failed_samples == set(), "a clip that stock drops is not decoded at each step"
    assert len(trainer.eval_loader.dataset) == prepared.eval_clips
    return json.loads((folder / "found.json").read_text()), folder / "run"


def test_both_ways_do_the_same_work_and_bytes_are_what_lies_on_the_disk(
    spec: TrialSpec, prepared: Prepared, tmp_path: Path
) -> None:
    import torch

    from benchmarks.ways import ours

    methods = [torch.Tensor.backward, torch.optim.AdamW.step]
    theirs, folder = by_stock(spec, prepared, tmp_path)
    ours.train(spec, tmp_path / "ours.json")
    mine = json.loads((tmp_path / "ours.json").read_text())
    for found in (mine, theirs):
        assert (found["steps"], found["evaluations"]) == (STEPS, 2)
        assert found["model_cpu"] > 0 and found["outside_cpu"] > 0
    assert mine["outside_cpu"] < theirs["outside_cpu"], "stock decodes, and makes codes, at each step"
    refuse_unequal([mine], [theirs], spec)
    with pytest.raises(SystemExit, match=rf"\({STEPS}, 1\), \({STEPS}, 2\)"):
        refuse_unequal([mine], [{**theirs, "evaluations": 1}], spec)
    assert [torch.Tensor.backward, torch.optim.AdamW.step] == methods, "the meter is gone with its run"

    assert len(list(folder.rglob("best_model*.pth"))) == 2
    for written in (folder, Path(spec.directory)):
        du = subprocess.run(["du", "--apparent-size", "-b", "-a", str(written)], capture_output=True, text=True)
        sizes = (line.split("\t") for line in du.stdout.splitlines())
        assert bytes_in(written) == sum(int(size) for size, name in sizes if Path(name).is_file())
    assert bytes_in(folder) > 50 * bytes_in(Path(spec.directory))


def test_stock_has_the_trial_s_values(spec: TrialSpec, prepared: Prepared, tmp_path: Path) -> None:
    config = stock_config(spec, prepared, tmp_path)
    assert (config["lr"], config["optimizer_params"]["weight_decay"], config["grad_clip"]) == (1e-3, 0.3, 0.8)
    assert config["lr_scheduler_params"] == {"milestones": [1, 5], "gamma": 0.5}
    assert config["scheduler_after_epoch"] is False
    assert (config["batch_size"], config["eval_batch_size"], config["training_seed"]) == (BATCH, 20, 7)
    assert config["epochs"] * AN_EPOCH == STEPS
    recipe = {"num_loader_workers": 8, "save_checkpoints": True, "save_step": 10_000, "dashboard_logger": "tensorboard"}
    assert {name: config[name] for name in recipe} == recipe
    assert config["run_eval"] is True and config["save_best_after"] == 0
    assert config["output_path"] == str(tmp_path)


@pytest.mark.parametrize(
    ("steps", "evaluated"),
    [(6, [2, 4, 6]), (6, [6]), (7, [3, 6]), (7, [3, 7])],
)
def test_what_stock_cannot_evaluate_alike_is_refused(
    spec: TrialSpec, prepared: Prepared, tmp_path: Path, steps: int, evaluated: list[int]
) -> None:
    with pytest.raises(AssertionError):
        stock_config(replace(spec, horizon=steps, evaluation_steps=evaluated), prepared, tmp_path)


@pytest.mark.parametrize("form", [FULL, SHORT])
def test_the_search_of_equal_work_is_one_that_stock_can_follow(form: Form, prepared: Prepared) -> None:
    settings = resolve({}, form.settings, None)
    assert settings.training.accumulation == 1
    assert not settings.pruning.median and not settings.pruning.two_increases
    assert form.stock <= form.ours == settings.study.trials
    an_epoch = prepared.train_clips // settings.training.batch_size
    horizon = settings.trial_horizon(prepared.train_clips)
    due = evaluation_steps(horizon, settings.training.evaluations)
    assert due == list(range(an_epoch, horizon + 1, an_epoch))


def evaluated(step: int, seconds: float) -> Evaluation:
    return Evaluation(step, 2.0, 2.0, 2.0, 2.0, seconds=seconds)


TIMES = Times(before=10.0, started=10.5, evaluated=[14.0, 17.0], ended=19.0)
RECORD = {"setup_seconds": 0.25, "train_seconds": 4.0, "evaluation_seconds": 1.0, "steps": 20}


@pytest.mark.parametrize(
    ("evaluations", "record", "speech", "expected"),
    [
        ([evaluated(10, 3.0), evaluated(20, 6.0)], RECORD, 1.5, [0.5, 0.5, 0.25, 4.0, 1.0, 0.75, 1.5, 0.5]),
        ([evaluated(10, 3.0)], RECORD, 0.0, [0.5, 0.5, 0.25, 4.0, 1.0, 0.0, 0.0, 2.75]),  # pruned after step 10
        ([], None, 0.0, [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.5]),  # crashed
    ],
)
def test_the_parts_make_up_a_slot_s_time(
    evaluations: list[Evaluation], record: dict[str, float] | None, speech: float, expected: list[float]
) -> None:
    found = parts(TIMES, evaluations, record, speech)
    assert found == pytest.approx(dict(zip(PARTS, expected, strict=True)))
    assert sum(found.values()) == TIMES.ended - TIMES.before
    share = shares([{"parts": found}, {"parts": found}])
    assert sum(share.values()) == pytest.approx(1)
    assert outside(share) == pytest.approx(1 - (expected[3] + expected[4]) / 9)


def test_bytes_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"1" * 1000)
    (tmp_path / "a" / "b" / "two").write_bytes(b"2" * 234)
    os.link(tmp_path / "a" / "one", tmp_path / "the-same")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a" / "one")
    assert bytes_in(tmp_path) == 1234
