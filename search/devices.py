"""The GPUs that this machine offers, found without torch: the supervisor must not start CUDA."""

import os


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
