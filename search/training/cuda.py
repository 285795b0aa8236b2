"""Whether CUDA works in this process."""

import torch

from search.trial import Caller


def tried(_caller: Caller | None = None) -> str | None:
    """Why torch cannot compute on the first GPU that this process sees, with its release; None when it can.

    It computes: a GPU may be listed that this build of torch has no code for, or that is lost.
    """
    try:
        torch.ones(1, device="cuda:0").sum().item()
    except (AssertionError, RuntimeError) as error:  # a build without CUDA is an AssertionError
        first = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        return f"torch {torch.__version__}: {first}"
    return None
