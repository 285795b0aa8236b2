"""Precision and speed settings: refused where they cannot act, exact where they claim to be, and out of evaluation."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from search.errors import UserError
from search.settings.sections import Training
from search.training.numerics import refuse_unavailable
from search.training.run import Setup, build
from search.trial import Prepared, TrialSpec
from tests.conftest import make_spec_in
from tests.test_training import train

Make = Callable[..., TrialSpec]
PRECISIONS = ("fp32", "tf32", "bf16")


@pytest.fixture(autouse=True)
def _flags() -> Iterator[None]:
    """Stock leaves TF32 on in a process once a run has set it; a run's process has one run, this one has many."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def trained(spec: TrialSpec) -> tuple[Setup, list[float]]:
    """(run, training loss of each step); built only now, since it draws from the process's generators."""
    run = train(spec)
    return run, [step.loss for step in run.trainer.recorder.history]


KNOBS: dict[str, Any] = {"weight_decay": 0.3, "milestones": (0.5,), "gamma": 0.5, "clip_norm": 1.0}


@pytest.fixture(scope="module")
def default(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The training loss of each step of a run under KNOBS, in fp32 with torch's default AdamW."""
    return trained(make_spec_in(prepared, tmp_path_factory.mktemp("default"))(12, **KNOBS))[1]


# What cannot act


ALONE, TURING, AMPERE = None, (7, 5), (8, 0)


@pytest.mark.parametrize(
    ("settings", "gpu", "refused"),
    [
        (
            {"precision": "tf32"},
            ALONE,
            "training.precision is 'tf32', which acts on CUDA GPUs only, and none is visible",
        ),
        ({"precision": "tf32"}, TURING, "'tf32', which GPUs before NVIDIA's Ampere do not have, such as a Turing;"),
        ({"precision": "tf32"}, AMPERE, None),
        ({"precision": "bf16"}, ALONE, None),
        ({"pin_memory": True}, ALONE, "training.pin_memory is true, which acts on the way to CUDA GPUs only, and none"),
        ({"pin_memory": True}, TURING, None),
    ],
)
def test_a_setting_that_this_machine_cannot_honour_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], gpu: tuple[int, int] | None, refused: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a Turing")
    if refused is None:
        refuse_unavailable(Training(**settings))
        return
    with pytest.raises(UserError) as info:
        refuse_unavailable(Training(**settings))
    assert refused in str(info.value) and "\n" not in str(info.value)


# What a setting changes


@pytest.mark.parametrize(
    ("settings", "rel"), [({"fused_adamw": True}, 1e-5), ({"precision": "bf16"}, 0.03)], ids=["fused", "bf16"]
)
def test_a_run_stays_close_to_the_default_one(
    make_spec: Make, default: list[float], settings: dict[str, Any], rel: float
) -> None:
    """Each step's loss, under clip, decay and a milestone, and not bit for bit; weights and moments stay fp32."""
    run, found = trained(make_spec(12, **KNOBS, **settings))
    optimizer = run.trainer.optimizer[0]
    assert bool(optimizer.defaults["fused"]) == ("fused_adamw" in settings)
    assert found != default
    assert found == pytest.approx(default, rel=rel)
    tensors = [v for state in optimizer.state.values() for v in state.values()] + list(optimizer.state)
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


# Pinned transfer, with doubles of what needs a GPU


def test_batches_are_pinned_before_stock_s_transfer(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor, its values as they were; stock's transfer does not wait."""
    run = build(make_spec(2, pin_memory=True))
    batch = next(run.batches)
    given = {name: value.clone() for name, value in batch.items() if isinstance(value, torch.Tensor)}
    pinned: list[int] = []
    moved: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(1) or tensor.clone())
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, **options: moved.append(options) or tensor)
    formatted = run.trainer.format_batch(batch)
    assert moved == [{"non_blocking": True}] * len(given) and len(given) > 5
    assert len(pinned) == len(given)
    for name in ("wav_lengths", "audio_codes", "cond_idxs"):
        assert torch.equal(formatted[name], given[name]), name


# Training and evaluation


def assert_trains_in(precision: str, trainer: Any) -> None:
    """As stock would on CUDA. A scaler would multiply the losses; bf16 has fp32's range and needs none."""
    config = trainer.config
    assert config.mixed_precision == (precision == "bf16")
    trainer.use_cuda = True
    given = {"mixed_precision": config.mixed_precision, "precision": config.precision}
    on_cuda = torch.bfloat16 if precision == "bf16" else torch.float32
    assert trainer._get_autocast_args(**given) == ("cuda", on_cuda)
    assert (trainer.use_amp_scaler, trainer.scaler) == (False, None)
    assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
    trainer.use_cuda = False


def flags() -> tuple[bool, ...]:
    """(TF32 in products, TF32 in convolutions, autocast on the CPU, on CUDA) as they are now."""
    allowed = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    return (*allowed, torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"))


def test_training_is_in_its_precision_and_evaluation_in_fp32(make_spec: Make) -> None:
    """The same weights give the same losses bit for bit, and the training's flags are as they were afterwards."""
    found = {}
    for precision in PRECISIONS:
        run = build(make_spec(2, precision=precision))
        assert_trains_in(precision, run.trainer)
        seen: set[Any] = set()
        run.trainer.model.register_forward_hook(lambda _, __, out, seen=seen: seen.add((*flags(), out[2].dtype)))
        before = flags()
        assert before == (precision == "tf32", True, False, False)  # torch allows TF32 in convolutions by default
        evaluated = run.evaluator(0, 0.0)
        found[precision] = (evaluated.mel_ce, evaluated.text_ce, evaluated.probe_mel_ce, evaluated.probe_text_ce)
        assert seen == {(False, False, False, False, torch.float32)}
        assert flags() == before
        torch.backends.cuda.matmul.allow_tf32 = False
    assert found["tf32"] == found["bf16"] == found["fp32"]
