"""Whether CUDA works in this process."""

import torch

from search.errors import first_line
from search.trial import Caller


def tried(_caller: Caller | None = None) -> str | None:
    """Why torch cannot compute on the first GPU that this process sees, with its release; None when it can.

    It computes: a GPU may be listed that this build of torch has no code for, or that is lost.
    """
    try:
        torch.ones(1, device="cuda:0").sum().item()
    except (AssertionError, RuntimeError) as error:  # a build without CUDA is an AssertionError
        return f"torch {torch.__version__}: {first_line(error).partition('. ')[0]}"
    return None
