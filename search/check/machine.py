"""The machine that a search would run on: processors, memory, GPUs and free space. Found without torch."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from search.devices import visible_gpus
from search.settings.settings import Settings


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes; 0 where it is not known


@dataclass(frozen=True)
class Machine:
    """What there is to run on. Bytes throughout."""

    cpus: int  # that this process may use
    memory: int
    gpus: tuple[Gpu, ...]
    cache: str  # folder
    cache_free: int
    study: str  # folder
    study_free: int
    same_disk: bool  # cache and study folder share their free space


def look(settings: Settings, cache: Path) -> Machine:
    """This machine. `cache` and the study's folder need not exist yet: the next folder above them tells their disk."""
    cache_at, study_at = _existing(cache), _existing(settings.directory)
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=tuple(_gpu(name) for name in visible_gpus()),
        cache=str(cache),
        cache_free=shutil.disk_usage(cache_at).free,
        study=str(settings.directory),
        study_free=shutil.disk_usage(study_at).free,
        same_disk=cache_at.stat().st_dev == study_at.stat().st_dev,
    )


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _gpu(device: str) -> Gpu:
    """Name and memory from NVML, for a UUID or an index; a MIG slice and unknown devices keep their own name."""
    import pynvml

    try:
        pynvml.nvmlInit()
        if device.isdigit():
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(device))
        else:
            handle = pynvml.nvmlDeviceGetHandleByUUID(device)
        return Gpu(str(pynvml.nvmlDeviceGetName(handle)), int(pynvml.nvmlDeviceGetMemoryInfo(handle).total))
    except pynvml.NVMLError:
        return Gpu(device, 0)
