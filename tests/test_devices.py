"""GPUs and slots. The driver's library is a double here: there is no GPU where the tests run."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from search.devices import reserved, visible_gpus
from search.errors import UserError
from search.settings.settings import Settings, load
from search.workers.session import slots
from tests.conftest import ROOT


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    double = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: SimpleNamespace(index=index),
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle.index}",
    }
    for name, function in double.items():
        monkeypatch.setattr(pynvml, name, function)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("0,2", ["0", "2"]), (" GPU-a , GPU-b ", ["GPU-a", "GPU-b"]), ("", []), ("-1", [])],
)
def test_named_devices_are_taken_as_they_are(
    monkeypatch: pytest.MonkeyPatch, variable: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == expected


@pytest.mark.usefixtures("two_gpus")
def test_gpus_go_by_uuid() -> None:
    assert visible_gpus() == ["GPU-0", "GPU-1"]


def with_workers(workers: int | None, real: bool = False) -> Settings:
    settings = load(None, {} if workers is None else {"study.workers": workers})
    return (
        settings.model_copy(update={"data": settings.data.model_copy(update={"path": "/data"})}) if real else settings
    )


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("workers", "expected"),
    [(None, ["GPU-0", "GPU-1"]), (1, ["GPU-0"]), (3, ["GPU-0", "GPU-1", "GPU-0"])],
)
def test_one_slot_a_gpu_or_as_many_as_asked(workers: int | None, expected: list[str]) -> None:
    assert slots(with_workers(workers), visible_gpus()) == expected


def test_slots_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
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
