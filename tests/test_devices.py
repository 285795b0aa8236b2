"""GPUs and slots. The driver's library is a double here: there is no GPU where the tests run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from search.commands.check import gpu_findings
from search.devices import by_uuid, has_nvidia_card, reserved, visible_gpus
from search.errors import UserError
from search.settings.settings import Settings, load
from search.trial import TrialSpec
from search.workers import session
from search.workers.events import View
from search.workers.launcher import Launcher
from search.workers.session import slots
from tests.conftest import ROOT

TWO = {
    "nvmlInit": lambda: None,
    "nvmlShutdown": lambda: None,
    "nvmlDeviceGetCount": lambda: 2,
    "nvmlDeviceGetHandleByIndex": lambda index: SimpleNamespace(index=index),
    "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle.index}",
}


def nvml(patch: pytest.MonkeyPatch, **functions: Callable[..., Any]) -> None:
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, function in functions.items():
        patch.setattr(pynvml, name, function)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("0,2", ["0", "2"]),
        (" GPU-a , MIG-b ", ["GPU-a", "MIG-b"]),
        ("0,0,1", ["0", "1"]),
        ("0,-1,1", ["0"]),  # CUDA reads no further
        *((nothing, []) for nothing in ("", " ", "-1", "NoDevFiles")),
    ],
)
def test_named_devices_are_taken_as_cuda_reads_them(
    monkeypatch: pytest.MonkeyPatch, variable: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("given", "kinds", "order", "expected"),
    [
        (["1"], ["H200", "H200"], None, ["GPU-1"]),
        (["1", "0"], ["H200", "H200"], None, ["GPU-1", "GPU-0"]),
        (["1"], ["H200", "T4"], None, ["1"]),  # CUDA may count the faster one first
        (["1"], ["H200", "T4"], "PCI_BUS_ID", ["GPU-1"]),
        (["2"], ["H200", "H200"], None, ["2"]),
    ],
)
def test_gpus_that_a_cluster_numbers_are_locked_like_others(
    monkeypatch: pytest.MonkeyPatch, given: list[str], kinds: list[str], order: str | None, expected: list[str]
) -> None:
    nvml(monkeypatch, **TWO, nvmlDeviceGetName=lambda handle: kinds[handle.index])
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    assert by_uuid(given) == expected


def test_gpus_go_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, **TWO)
    assert visible_gpus() == ["GPU-0", "GPU-1"]


@pytest.mark.parametrize(
    ("error", "has_card", "is_refused"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, True, False),  # no driver was ever installed
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, False, False),  # as on a cloud's image without its GPU
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, True, True),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, True, True),
    ],
)
def test_a_card_whose_driver_does_not_work_is_no_cpu(
    monkeypatch: pytest.MonkeyPatch, error: int, has_card: bool, is_refused: bool
) -> None:
    def broken() -> None:
        raise pynvml.NVMLError(error)

    nvml(monkeypatch, nvmlInit=broken)
    monkeypatch.setattr("search.devices.has_nvidia_card", lambda: has_card)
    if is_refused:
        with pytest.raises(UserError, match=r"^this machine's NVIDIA driver does not work .*CUDA_VISIBLE_DEVICES"):
            visible_gpus()
    else:
        assert visible_gpus() == []


def test_a_card_is_one_that_shows_or_computes(tmp_path: Path) -> None:
    for number, (vendor, kind) in enumerate([("0x8086", "0x030000"), ("0x10de", "0x040300")]):  # its sound is no card
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "vendor").write_text(f"{vendor}\n")
        (tmp_path / str(number) / "class").write_text(f"{kind}\n")
    assert not has_nvidia_card(tmp_path)
    (tmp_path / "1" / "class").write_text("0x030200\n")
    assert has_nvidia_card(tmp_path)


# What torch can use: here it has no GPU, whatever was promised


@pytest.mark.parametrize("named", ["0,1,2", "GPU-8932f937", "MIG-a/1/0", None])
def test_a_promised_gpu_that_torch_cannot_use_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, named: str | None
) -> None:
    nvml(monkeypatch, **TWO)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    source = "the driver names it" if named is None else f"CUDA_VISIBLE_DEVICES is {named}"
    first = "GPU-0" if named is None else named.split(",")[0]
    settings = load(None, {"study.directory": str(tmp_path)})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        session.search(settings, View())
    line = str(caught.value)
    assert line.startswith(f"GPU {first} cannot be used ({source}): torch 2.") and "\n" not in line
    assert "set CUDA_VISIBLE_DEVICES to nothing to train on the CPU" in line
    assert sorted(tmp_path.rglob("*")) == before, "nothing was made"
    (finding,) = gpu_findings(Launcher(), cache)
    assert (finding.level, finding.area, finding.message) == ("error", "machine", line)


def test_a_run_whose_gpu_is_gone_does_not_train_on_the_cpu(make_spec: Callable[..., TrialSpec]) -> None:
    from search.training.run import build

    with pytest.raises(UserError, match=r"^GPU GPU-a, on which the run is to train, is gone"):
        build(make_spec(2, device="GPU-a"))


# Slots


def with_workers(workers: int | None, real: bool = False) -> Settings:
    settings = load(None, {} if workers is None else {"study.workers": workers})
    return (
        settings.model_copy(update={"data": settings.data.model_copy(update={"path": "/data"})}) if real else settings
    )


@pytest.mark.parametrize(
    ("workers", "expected"),
    [(None, ["GPU-0", "GPU-1"]), (1, ["GPU-0"]), (3, ["GPU-0", "GPU-1", "GPU-0"])],
)
def test_one_slot_a_gpu_or_as_many_as_asked(workers: int | None, expected: list[str]) -> None:
    assert slots(with_workers(workers), ["GPU-0", "GPU-1"]) == expected


def test_slots_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert slots(with_workers(None, real=True), []) == [None]
    assert slots(with_workers(None), []) == [None, None]
    assert slots(with_workers(4), []) == [None] * 4


GPUS = ["GPU-a", "GPU-b", "GPU-c"]
HOLD = """
import sys
from pathlib import Path
from search.devices import reserved
with reserved(["GPU-a", "GPU-b", "GPU-c"], 2, Path(sys.argv[1])) as gpus:
    print(*gpus, flush=True)
    sys.stdin.read()
"""


def test_searches_of_a_machine_share_out_its_gpus(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "gpus")]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == "GPU-a GPU-b\n"
        with reserved(GPUS, None, tmp_path / "gpus") as mine:
            assert mine == ["GPU-c"]
            with (
                pytest.raises(UserError, match="all 3 GPUs of this machine are in use"),
                reserved(GPUS, None, tmp_path / "gpus"),
            ):
                pass
        other.kill()
        other.wait()
        with reserved(GPUS, 2, tmp_path / "gpus") as mine:
            assert mine == ["GPU-a", "GPU-b"]


def test_a_named_index_and_a_cpu_are_not_locked(tmp_path: Path) -> None:
    with reserved(["0"], None, tmp_path) as first, reserved(["0"], None, tmp_path) as second:
        assert first == second == ["0"]
    with reserved([], None, tmp_path) as none:
        assert none == []
