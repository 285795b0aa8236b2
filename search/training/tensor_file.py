"""Files of tensors that are complete or not there."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from search.errors import UserError


def write_tensors(content: dict[str, Any], path: Path) -> None:
    """Replaces `path`, also across a power loss. Raises UserError when the disk is full, and leaves no partial file."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
        _sync(path.parent)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        # torch ends a file that could not be written with an error of its own, and the disk's behind it.
        for cause in causes(error):
            if isinstance(cause, OSError):
                raise UserError(
                    f"{path} cannot be written: {cause.strerror or cause}; what was saved before is whole: make room,"
                    " then run the same command again"
                ) from error
        raise


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a file that `write_tensors` wrote, memory-mapped. Raises UserError for any other."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path} cannot be read as the state of a run ({reason}); start the run again in a new folder"
        ) from error
    return content


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, and what led to it, the nearest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _sync(folder: Path) -> None:
    """Makes a rename in `folder` last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
