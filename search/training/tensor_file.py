"""Files of tensors that are complete or not there."""

from pathlib import Path
from typing import Any

import torch

from search.errors import UserError, causes, first_line
from search.files import replacing


def write_tensors(content: dict[str, Any], path: Path) -> None:
    """Replaces `path`, also across a power loss. Raises UserError when the disk is full, and leaves no partial file."""
    try:
        with replacing(path) as file:
            torch.save(content, file)
    except Exception as error:
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
        raise UserError(
            f"{path} cannot be read as the state of a run ({first_line(error)}); start the run again in a new folder"
        ) from error
    return content
