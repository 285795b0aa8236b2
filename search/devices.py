"""The GPUs that this machine offers, found without torch: the supervisor must not start CUDA."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from search.errors import UserError


def visible_gpus() -> list[str]:
    """A name for each GPU, fit for a child's CUDA_VISIBLE_DEVICES; empty on a machine without one.

    An index of NVML need not be CUDA's, so GPUs go by UUID unless CUDA_VISIBLE_DEVICES already names some.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def reserved(gpus: Sequence[str], at_most: int | None, folder: Path) -> Iterator[list[str]]:
    """Those of `gpus` that no other search of this machine uses, `at_most` so many, kept from others until the end.

    So several searches share out the GPUs of a machine. A lock on a file of `folder` says that a GPU is in use; the
    kernel frees it whatever ends the process. GPUs that are named by index are not locked: an index means another GPU
    in another container, and who names one has chosen. Raises UserError when all are in use.
    """
    with ExitStack() as locks:
        mine: list[str] = []
        for gpu in gpus:
            if len(mine) == (at_most or len(gpus)):
                break
            if not gpu.startswith(("GPU-", "MIG-")):
                mine.append(gpu)
            elif (file := _locked(folder / f"{gpu.replace('/', '-')}.lock")) is not None:
                locks.enter_context(file)
                mine.append(gpu)
        if gpus and not mine:
            raise UserError(
                f"all {len(gpus)} GPUs of this machine are in use by other searches; wait for one to end, or start them"
                " with fewer --workers, so that each takes so many GPUs"
            )
        yield mine


def _locked(path: Path) -> IO[str] | None:
    """The open file, locked; None when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (whoever gets it closes it)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
