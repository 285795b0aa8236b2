"""The GPUs that this machine promises, found without torch: the supervisor must not start CUDA."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import lock

VARIABLE = "CUDA_VISIBLE_DEVICES"
ON_CPU = f"set {VARIABLE} to nothing to train on the CPU"
_END = ("", "-1", "NoDevFiles")  # CUDA reads the variable up to such a name; the last is what Slurm writes


def visible_gpus() -> list[str]:
    """A name for each GPU that is promised, fit for a child's CUDA_VISIBLE_DEVICES; empty on a machine without one.

    An index of NVML need not be CUDA's, so GPUs go by UUID unless CUDA_VISIBLE_DEVICES already names some. Whether
    torch can use them is for `search.workers.gpus` to find out. Raises UserError for a driver that does not work.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return list(dict.fromkeys(takewhile(lambda name: name not in _END, map(str.strip, named.split(",")))))
    import pynvml

    try:
        return [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in _handles()]
    except pynvml.NVMLError_LibraryNotFound:  # no driver
        return []
    except pynvml.NVMLError as error:  # of another version than the kernel's module, or without one
        if not has_nvidia_card():
            return []
        raise UserError(
            f"this machine's NVIDIA driver does not work ({error}); see what nvidia-smi says (a new driver needs a"
            f" restart), or {ON_CPU}"
        ) from error


def _handles() -> list[Any]:
    """NVML's handle of each GPU of this machine. Raises NVMLError. NVML stays open, which takes nothing of a GPU."""
    import pynvml

    pynvml.nvmlInit()
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]


def by_uuid(gpus: Sequence[str]) -> list[str]:
    """`gpus`, with UUIDs in place of indices, so that searches that were not given them by index share their locks.

    Indices stay where NVML's order may differ from CUDA's, as among unlike GPUs, or knows no such GPU.
    """
    import pynvml

    if not gpus or not all(gpu.isdecimal() for gpu in gpus):
        return list(gpus)
    try:
        handles = _handles()
        kinds = {pynvml.nvmlDeviceGetName(handle) for handle in handles}
        if len(kinds) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            return list(gpus)
        return [str(pynvml.nvmlDeviceGetUUID(handles[int(gpu)])) for gpu in gpus]
    except (pynvml.NVMLError, IndexError):  # the search itself says what is wrong with the driver
        return list(gpus)


def has_nvidia_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the kernel sees a display or compute device of NVIDIA's, with a driver or without."""
    cards = [device for device in devices.glob("*") if (device / "class").read_text().startswith("0x03")]
    return any((card / "vendor").read_text().strip() == "0x10de" for card in cards)


class AllInUse(UserError):
    """Other searches of this machine use all its GPUs."""


@contextmanager
def reserved(gpus: Sequence[str], at_most: int | None, folder: Path) -> Iterator[list[str]]:
    """Up to `at_most` of `gpus` that no other search of this machine uses, kept from others until the block ends.

    A lock on a file in `folder` says that a GPU is in use. GPUs that are named by index are not locked: an index means
    another GPU in another container, and was chosen by a person. Raises AllInUse.
    """
    with ExitStack() as locks:
        mine: list[str] = []
        for gpu in gpus:
            if len(mine) == (at_most or len(gpus)):
                break
            if not gpu.startswith(("GPU-", "MIG-")):
                mine.append(gpu)
            else:
                with suppress(BlockingIOError):  # another search has it
                    locks.enter_context(lock(folder / f"{gpu.replace('/', '-')}.lock"))
                    mine.append(gpu)
        if gpus and not mine:
            raise AllInUse(
                f"all {len(gpus)} GPUs of this machine are in use by other searches; wait for one to end, or limit each"
                " search with --workers N"
            )
        yield mine
