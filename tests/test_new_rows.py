"""The learning-rate factor of new vocabulary rows: AdamW's own update at another rate, on those rows and no others."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from search.training.new_rows import TENSORS, NewRows
from search.training.run import build
from search.trial import Prepared, StopReason, TrialSpec
from tests.test_state import NEVER, Watched, assert_equal
from tests.test_training import train

Make = Callable[..., TrialSpec]
ROWS = [3, 7, 8]  # of the small model's vocabulary
LR, DECAY, CLIP = 0.02, 0.3, 0.6


@pytest.fixture
def rows(prepared: Prepared) -> torch.Tensor:
    """The miniature's own: the ids of the tokens that preparation appended."""
    assert len(prepared.new_rows) == len(prepared.added_tokens) > 0
    return torch.tensor(prepared.new_rows)


class Small(torch.nn.Module):
    """A model of texts with the three tensors of the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.text_embedding = torch.nn.Embedding(10, 6)
        self.inner = torch.nn.Linear(6, 6)
        self.text_head = torch.nn.Linear(6, 10)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        return self.text_head(torch.tanh(self.inner(self.text_embedding(texts))))


class Split(Small):
    """The same model, whose new rows are parameters of their own."""

    def __init__(self) -> None:
        super().__init__()
        named = dict(self.named_parameters())
        self.old = torch.nn.ParameterList([torch.nn.Parameter(named[name].detach().clone()) for name in TENSORS])
        self.new = torch.nn.ParameterList([torch.nn.Parameter(named[name].detach()[ROWS].clone()) for name in TENSORS])

    def merged(self) -> list[torch.Tensor]:
        index = torch.tensor(ROWS)
        return [old.index_copy(0, index, new) for old, new in zip(self.old, self.new, strict=True)]

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        embedding, weight, bias = self.merged()
        return F.linear(torch.tanh(self.inner(F.embedding(texts, embedding))), weight, bias)


def train_small(model: Small, optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter]) -> None:
    """30 optimizer steps of 2 micro-steps, with a clip and two milestones."""
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 20], 0.3)
    draw = torch.Generator().manual_seed(1)
    for _ in range(30):
        for _ in range(2):
            texts = torch.randint(0, 10, (4, 6), generator=draw)
            (F.cross_entropy(model(texts[:, :-1]).flatten(0, 1), texts[:, 1:].flatten()) / 2).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    ("factor", "options"), [(0.1, {"foreach": False}), (3.0, {"foreach": True}), (3.0, {"fused": True})]
)
def test_it_is_adamw_with_the_rows_in_a_group_of_their_own(factor: float, options: dict[str, bool]) -> None:
    """Under schedule, clip, accumulation and decay, which acts on the head's weight alone."""
    settings: dict[str, Any] = {"lr": LR, "betas": (0.9, 0.96), "eps": 1e-8, **options}
    ours = Small()
    optimizer = torch.optim.AdamW(
        [
            {"params": [ours.text_head.weight, ours.inner.weight], "weight_decay": DECAY},
            {"params": [ours.text_embedding.weight, ours.text_head.bias, ours.inner.bias], "weight_decay": 0.0},
        ],
        **settings,
    )
    NewRows(ours, ROWS, factor, optimizer)
    train_small(ours, optimizer, list(ours.parameters()))

    theirs = Split()
    groups = [
        {"params": [theirs.old[1], theirs.inner.weight], "weight_decay": DECAY},
        {"params": [theirs.old[0], theirs.old[2], theirs.inner.bias], "weight_decay": 0.0},
        {"params": [theirs.new[1]], "weight_decay": DECAY, "lr": factor * LR},
        {"params": [theirs.new[0], theirs.new[2]], "weight_decay": 0.0, "lr": factor * LR},
    ]
    reference = torch.optim.AdamW(groups, **settings)
    train_small(theirs, reference, [p for group in groups for p in group["params"]])

    named = dict(ours.named_parameters())
    untrained = dict(Small().named_parameters())
    for name, expected in zip(TENSORS, theirs.merged(), strict=True):
        moved = (expected - untrained[name]).abs().max().item()
        assert moved > 0.01
        torch.testing.assert_close(named[name], expected, rtol=0, atol=2e-5 * moved, msg=name)


def test_one_update_differs_in_the_new_rows_alone_and_by_the_factor(make_spec: Make, rows: torch.Tensor) -> None:
    """Later updates differ everywhere: they start from other weights."""
    knobs = {"weight_decay": 0.5}
    before = dict(build(make_spec(1, 1, **knobs)).trainer.model.xtts.gpt.named_parameters())
    plain = dict(train(make_spec(1, 1, **knobs)).model.xtts.gpt.named_parameters())
    run = train(make_spec(1, 1, **knobs, new_rows_lr_factor=0.25))
    for name, weight in run.trainer.model.xtts.gpt.named_parameters():
        others = torch.ones(len(weight), dtype=torch.bool)
        if name in TENSORS:
            others[rows] = False
            scaled, whole = weight[rows] - before[name][rows], plain[name][rows] - before[name][rows]
            assert whole.abs().max() > 1e-4
            torch.testing.assert_close(scaled, 0.25 * whole, rtol=1e-3, atol=1e-7, msg=name)
        assert torch.equal(weight[others], plain[name][others]), name


def test_a_factor_of_1_is_no_factor(make_spec: Make) -> None:
    """Nothing hangs on the optimizer that could change a bit."""
    trainer = build(make_spec(2, 1, new_rows_lr_factor=1.0)).trainer
    assert trainer.recorder.new_rows is None
    assert not trainer.optimizer[0]._optimizer_step_post_hooks
    assert len(trainer.optimizer[0]._optimizer_step_pre_hooks) == 1  # the recorder's, which only looks


def test_a_factor_on_rows_without_gradient_is_named(make_spec: Make, rows: torch.Tensor) -> None:
    spec = make_spec(2, 1, new_rows_lr_factor=0.1)
    run = build(spec)
    assert run.trainer.recorder.record(spec.hyperparameters, 2, 0.0).new_rows_update_ratio is None
    parameters = dict(run.model.xtts.gpt.named_parameters())
    for name in TENSORS:
        parameters[name].register_hook(lambda gradient: gradient.index_fill(0, rows, 0.0))
    deque(run.trainer.steps(run.batches, 2), maxlen=0)
    inert = run.trainer.recorder.record(spec.hyperparameters, 2, 0.0).inert
    assert f"new_rows_lr_factor: none of the {len(rows)} new rows ever had a gradient" in inert


def test_a_stopped_run_with_all_knobs_goes_on_bit_for_bit(make_spec: Make) -> None:
    """The record, too: the ratio is of all steps, and the layers stay frozen."""
    knobs = {"new_rows_lr_factor": 3.0, "frozen_layers": 1, "fused_adamw": True, "save_seconds": NEVER}
    whole, parts = (Watched(make_spec(4, 2, **knobs)) for _ in range(2))
    assert whole.go() == StopReason.FINISHED
    assert parts.go(stop_at=3) == StopReason.STOPPED_BY_USER
    assert parts.go() == StopReason.FINISHED
    assert parts.steps == [3, 4]
    assert_equal(parts, whole)
    assert whole.record.new_rows_update_ratio == pytest.approx(3.0, rel=1e-4)
    assert whole.record.frozen_parameters > 0
    assert not any(text.startswith("new_rows") for text in whole.record.inert)
