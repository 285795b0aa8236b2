"""The GPUs that this machine offers, found without torch: the supervisor must not start CUDA."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from search.errors import UserError
from search.files import lock


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
    """Up to `at_most` of `gpus` that no other search of this machine uses, kept from others until the block ends.

    A lock on a file in `folder` says that a GPU is in use. GPUs that are named by index are not locked: an index means
    another GPU in another container, and was chosen by a person. Raises UserError when all are in use.
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
            raise UserError(
                f"all {len(gpus)} GPUs of this machine are in use by other searches; wait for one to end, or limit each"
                " search with --workers N"
            )
        yield mine
