"""One run: every knob acts, every number means what it says."""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from search.training import base
from search.training.evaluation import Evaluator, evaluation_sets
from search.training.run import Setup, build, run_config, run_trial
from search.training.trainer import Diverged
from search.trial import Prepared, RunRecord, StopReason, TrialSpec
from space.schedule import to_steps
from tests.conftest import make_spec_in

Make = Callable[..., TrialSpec]


def train(spec: TrialSpec, steps: int | None = None) -> Setup:
    """The run after `steps` or its horizon, without files."""
    run = build(spec)
    deque(run.trainer.steps(run.batches, steps or spec.horizon), maxlen=0)
    return run


def measured(spec: TrialSpec, run: Setup) -> RunRecord:
    return run.trainer.recorder.record(spec.hyperparameters, spec.horizon, 0.0)


def weights(spec: TrialSpec) -> torch.Tensor:
    """All GPT weights after the run, in one vector."""
    return torch.cat([p.detach().flatten() for p in train(spec).model.xtts.gpt.parameters()])


KNOBS = {"lr": 5e-4, "weight_decay": 0.01, "milestones": (0.5,), "gamma": 0.5, "clip_norm": 0.5}


@pytest.fixture(scope="module")
def reference(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The weights of a run with KNOBS."""
    return weights(make_spec_in(prepared, tmp_path_factory.mktemp("reference"))(4, **KNOBS))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"lr": 4e-4},
        {"weight_decay": 0.5},
        {"milestones": (0.75,), "gamma": 0.5},
        {"milestones": (0.5,), "gamma": 0.2},
        {"clip_norm": 1.0},
        {"frozen_layers": 1},
    ],
    ids=str,
)
def test_each_knob_changes_the_weights(make_spec: Make, reference: torch.Tensor, changed: dict[str, Any]) -> None:
    """The control is no change, which gives the same weights bit for bit."""
    found = weights(make_spec(4, **{**KNOBS, **changed}))
    assert torch.equal(found, reference) if not changed else (found - reference).abs().max() > 1e-7


def test_frozen_layers_stay_as_they_were_and_cost_no_state(make_spec: Make) -> None:
    """Bit for bit, under decay, and without gradient or moments; everything else is trained."""
    spec = make_spec(3, weight_decay=0.5, frozen_layers=1)
    run = build(spec)
    gpt = run.model.xtts.gpt
    before = {name: p.detach().clone() for name, p in gpt.named_parameters()}
    kept: list[bool] = []  # a gradient, at the moment of an update
    run.trainer.optimizer[0].register_step_pre_hook(
        lambda *_: kept.extend(p.grad is not None for p in gpt.gpt.h[0].parameters())
    )
    deque(run.trainer.steps(run.batches, 3), maxlen=0)
    frozen = {name for name in before if name.startswith("gpt.h.0.")}
    changed = {name for name, p in gpt.named_parameters() if not torch.equal(p, before[name])}
    assert frozen and kept and not any(kept)
    assert changed == before.keys() - frozen
    states = run.trainer.optimizer[0].state
    assert {name for name, p in gpt.named_parameters() if p in states} == changed
    record = measured(spec, run)
    assert record.frozen_parameters == sum(before[name].numel() for name in frozen)
    assert record.trainable_parameters == sum(before[name].numel() for name in changed)
    assert not any(text.startswith("frozen") for text in record.inert)


def test_the_rate_is_multisteplr_at_the_promised_steps(make_spec: Make) -> None:
    milestones, gamma, horizon, accumulation = (0.3, 0.5, 0.8), 0.5, 10, 2
    spec = make_spec(horizon, lr=1e-3, milestones=milestones, gamma=gamma, accumulation=accumulation)
    run = train(spec)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(to_steps(milestones, horizon)), gamma)
    expected = []
    for _ in range(horizon):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [step.lr for step in run.trainer.recorder.history] == pytest.approx(expected, rel=1e-12)
    assert run.trainer.recorder.micro_steps == horizon * accumulation


def test_the_logged_loss_does_not_depend_on_the_accumulation(make_spec: Make) -> None:
    """The same batch k times over, before any update: its loss, whatever k."""
    logged = {}
    for accumulation in (1, 8):
        spec = make_spec(1, accumulation=accumulation)
        run = build(spec)
        batch = next(run.batches)
        run.model.eval()  # without dropout, so that each pass gives the same loss
        run.trainer.callbacks.on_train_epoch_start = lambda _: None
        deque(run.trainer.steps(copies(batch), 1), maxlen=0)
        logged[accumulation] = run.trainer.recorder.history[0].loss
    assert logged[8] == pytest.approx(logged[1], rel=1e-6)


def copies(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while True:
        yield {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def test_the_record_is_measured_at_the_optimizer(make_spec: Make) -> None:
    spec = make_spec(4, lr=1e-2, weight_decay=0.5, clip_norm=0.5)
    run = train(spec)
    record = measured(spec, run)
    assert record.grad_norm_before and record.grad_norm_before > 0.5
    assert record.grad_norm_after == pytest.approx(0.5, rel=1e-3)
    assert record.clipped_share == 1.0
    assert not any(text.startswith("clip_norm") for text in record.inert)
    assert record.cumulative_decay == pytest.approx(1 - (1 - 1e-2 * 0.5) ** 4, rel=1e-9)
    assert record.trainable_parameters == sum(p.numel() for p in run.model.xtts.gpt.parameters())
    assert 0 < record.decayed_parameters < record.trainable_parameters


def test_knobs_that_did_not_act_are_named(make_spec: Make) -> None:
    """A clip above every gradient, a decay of nothing, and milestones after the end of a stopped run."""
    spec = make_spec(10, clip_norm=1e6, weight_decay=1e-6, milestones=(0.9,), gamma=0.5)
    inert = measured(spec, train(spec, 3)).inert
    assert [text.split(":")[0] for text in inert] == ["milestones", "clip_norm", "weight_decay"]


def test_the_evaluation_does_not_depend_on_its_batch_size(make_spec: Make) -> None:
    run = build(make_spec(2))
    reference = run.evaluator(0, 0.0)
    for batch_size in (1, 3, 100):
        other = Evaluator(run.model, evaluation_sets(run.model, run.corpus, 20, 1, batch_size))(0, 0.0)
        for name in ("mel_ce", "text_ce", "probe_mel_ce", "probe_text_ce"):
            assert getattr(other, name) == pytest.approx(getattr(reference, name), rel=1e-5)


def test_an_evaluation_changes_nothing(make_spec: Make) -> None:
    """The same steps with ten evaluations between them and with none give the same weights."""
    run = build(make_spec(5, evaluations=5))
    seen = [run.evaluator(step, 0.0) for step in run.trainer.steps(run.batches, 5)]
    plain = train(make_spec(5))
    for a, b in zip(run.model.parameters(), plain.trainer.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [e.step for e in seen] == [1, 2, 3, 4, 5]
    assert len({e.mel_ce for e in seen}) == 5


def test_every_weight_comes_from_the_base(make_spec: Make, prepared: Prepared) -> None:
    """Initialisation is left out, so that nothing but the checkpoint may be in the weights."""
    spec = make_spec()
    model = base.load_model(run_config(spec, prepared))
    folder = Path(prepared.coqui_config["model_args"]["xtts_checkpoint"]).parent
    stored = torch.load(folder / "model.pth", weights_only=True)["model"]
    for name, parameter in model.xtts.named_parameters():
        assert torch.equal(parameter, stored[name]), name
    dvae = torch.load(folder / "dvae.pth", weights_only=True)
    for name, value in model.dvae.state_dict().items():
        assert torch.equal(value, dvae[name]), name


def test_a_loss_that_is_not_finite_never_reaches_the_weights(make_spec: Make) -> None:
    run = build(make_spec(3))
    gpt = run.model.xtts.gpt
    with torch.no_grad():
        gpt.mel_head.bias[0] = math.nan
    before = gpt.text_embedding.weight.clone()
    with pytest.raises(Diverged, match="nan"):
        deque(run.trainer.steps(run.batches, 3), maxlen=0)
    assert torch.equal(gpt.text_embedding.weight, before)
    assert run.trainer.recorder.steps == 0


@pytest.mark.parametrize("knobs", [{}, {"clip_norm": 1.0, "new_rows_lr_factor": 0.1}])
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(make_spec: Make, knobs: dict[str, float]) -> None:
    spec = make_spec(3, **knobs)
    run = build(spec)
    gpt = run.model.xtts.gpt
    gpt.final_norm.weight.register_hook(lambda gradient: gradient * math.inf)
    before = [weight.clone() for weight in (gpt.mel_head.weight, gpt.text_embedding.weight)]
    with pytest.raises(Diverged, match="gradient"):
        deque(run.trainer.steps(run.batches, 3), maxlen=0)
    assert torch.equal(gpt.mel_head.weight, before[0]) and torch.equal(gpt.text_embedding.weight, before[1])
    assert not [text for text in measured(spec, run).inert if "clip_norm" in text]


def test_divergence_ends_the_run_with_its_reason(make_spec: Make) -> None:
    """A learning rate far too high, to the end: the run is `diverged`, its record and files are there."""
    spec = make_spec(40, lr=1e18, evaluations=4)
    ended = run_trial(spec)
    assert ended.reason == StopReason.DIVERGED
    assert ended.record.steps < 40
    assert json.loads((Path(spec.directory) / "record.json").read_text())["steps"] == ended.record.steps


def test_a_stop_is_obeyed_at_the_next_batch(make_spec: Make) -> None:
    run = build(make_spec(5, accumulation=4))
    answers = iter([False, False, True])
    assert list(run.trainer.steps(run.batches, 5, lambda: next(answers))) == []
    assert run.trainer.recorder.micro_steps == 2


def test_a_run_writes_its_files_and_no_checkpoint(make_spec: Make) -> None:
    spec = make_spec(4, evaluations=2)
    ended = run_trial(spec)
    folder = Path(spec.directory)
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert (ended.reason, ended.record.steps) == (StopReason.FINISHED, 4)
    assert not [file for file in files if file.suffix == ".pth"]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    rows = (folder / "evaluations.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]
    assert float(rows[2].split(",")[1]) == pytest.approx(ended.evaluations[1].mel_ce, rel=1e-7)
    assert len((folder / "steps.csv").read_text().splitlines()) == 5
    assert list((folder / "tensorboard").iterdir())
