"""The law of memory beside real forward passes, the probe beside a device that has so much, and headers that lie."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

from benchmarks.memory import CASES, measured
from search.check.memory import Batch, Model, Probe, activations, needed
from search.preparation import probe
from search.preparation.recordings import remark
from search.preparation.surveying import make_survey
from search.settings.settings import load
from tests.bad_data import wave
from tests.surveys import GB

XTTS = Model(30, 1024, 16, 6681, 1026, 441_000_000)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] == "miniature"], ids=lambda c: f"{c[0]} {c[3]}")
def test_the_law_of_activations_holds_on_real_forward_passes(case: tuple[str, Model, Batch, str]) -> None:
    _, model, batch, precision = case
    assert activations(model, batch, precision, "cpu") == pytest.approx(measured(model, batch, precision), rel=0.01)


def test_the_peak_is_the_end_of_the_forward_pass_or_the_optimizers_step() -> None:
    """Weights, gradients and two averages of the GPT take 4 bytes each."""
    small = needed(XTTS, Batch(2, 20, 30, 100), "fp32", "cuda")
    assert small.state == 16 * 441_000_000
    # The optimizer's step holds one more copy of the weights unless it is fused.
    assert small.activations + small.transient == 4 * 441_000_000
    assert needed(XTTS, Batch(2, 20, 30, 100), "fp32", "cuda", fused=True).peak < small.peak
    assert needed(XTTS, Batch(16, 200, 250, 517), "fp32", "cuda").activations > 4 * 441_000_000


class Device:
    """Stands for a GPU: what was allocated at most is a number for each clip of the batch."""

    name, total = "a device", 10 * GB

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return 7 * GB


@pytest.mark.parametrize(
    ("wanted", "limit", "expected", "tried"),
    [
        (2, 5, (2 * GB, 4, False), [2, 4, 8]),
        (8, 5, (None, 4, False), [8, 4]),
        (8, 1, (None, 0, False), [8, 4, 2]),
        (16, 1000, (16 * GB, 64, True), [16, 32, 64]),
    ],
)
def test_the_largest_batch_is_found(
    wanted: int, limit: int, expected: tuple[int | None, int, bool], tried: list[int]
) -> None:
    made: list[int] = []

    def measure(clips: int) -> int | None:
        made.append(clips)
        return clips * GB if clips <= limit else None

    found = probe.find_largest(measure, wanted, Device())
    assert (found.peak, found.largest, found.more) == expected
    assert made == tried


def test_the_probe_trains_two_steps_and_lives_through_a_lack_of_memory(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training code of a trial on the real miniature; the device is a double that has room for five clips."""
    settings = load(None, {"training.batch_size": 2})
    survey = make_survey(settings, cache, lambda _: None)
    seen: list[tuple[int, int]] = []
    forward = probe.StudyTrainer.train_step

    def step(self: probe.StudyTrainer, batch: dict[str, torch.Tensor], *rest: object) -> object:
        clips = len(batch["text_lengths"])
        if clips > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        result = forward(self, batch, *rest)
        assert torch.isfinite(torch.as_tensor(result[1]["loss"]))
        seen.append((clips, len(self.optimizer[0].state)))
        return result

    monkeypatch.setattr(probe.StudyTrainer, "train_step", step)
    device = Device()
    told: list[str] = []
    found = probe.probe(settings, survey, device, told.append)
    assert found == Probe("a device", 10 * GB, 2, 7 * GB, 4, False)
    assert [clips for clips, _ in seen] == [2, 2, 4, 4]
    assert seen[1][1] > 0  # the second step has AdamW's averages
    assert device.resets == 3 and "a batch of 8" in told[2]


def content(folder: Path, name: str, **given: object) -> bytes:
    soundfile.write(folder / name, wave(1, 1.0), 22_050, **given)
    return (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("a.wav", lambda b: b, None),
        ("a.wav", lambda b: b + b"LIST" + struct.pack("<I", 3000) + bytes(3000), None),
        ("a.wav", lambda b: b[:12] + b"JUNK" + struct.pack("<I", 5) + bytes(6) + b[12:-9999], "is cut short"),
        ("a.wav", lambda b: b[: len(b) // 2], "its header promises 44,100 bytes of audio, 22,028 are there"),
        ("a.wav", lambda b: b[:40] + b"\xff\xff\xff\xff" + b[44:], "is cut short"),
        ("a.wav", lambda b: b[:40] + struct.pack("<I", 20_000) + b[44:], "has audio after the end"),
        ("a.flac", lambda b: b[:21] + b"\xf1" + b"\xff" * 4 + b[26:], "promises 8,589,934,591 samples, 22,050 are"),
        ("a.wav", lambda _: b"", None),
    ],
)  # fmt: skip
def test_headers(tmp_path: Path, name: str, change: Callable[[bytes], bytes], said: str | None) -> None:
    path = tmp_path / name
    path.write_bytes(change(content(tmp_path, name)))
    found = remark(path, 22_050)
    assert (found is None) if said is None else (found is not None and said in found)
