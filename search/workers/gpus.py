"""Whether torch can use the GPUs that a command is about to use: asked before any work, in children that see one each.

The fork server has torch but must not start CUDA, which does not survive a fork.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from search.devices import ON_CPU, VARIABLE
from search.errors import UserError
from search.text import printable
from search.workers.launcher import Failed, Launcher


def refuse_unusable(gpus: Sequence[str], launcher: Launcher, waiting: Callable[[], None] = lambda: None) -> None:
    """Raises UserError, for the first of `gpus` that torch cannot use: the driver, torch or the variable is wrong.

    All are asked at once. It takes as long as CUDA does to start, and nothing without a GPU. `waiting` is called
    meanwhile, again and again.
    """
    if not gpus:
        return
    with ThreadPoolExecutor(len(gpus)) as threads:
        answers = list(threads.map(lambda gpu: _answer(gpu, launcher, waiting), gpus))
    for gpu, answer in zip(gpus, answers, strict=True):
        if answer is not None:
            named = os.environ.get(VARIABLE)
            source = "the driver names it" if named is None else f"{VARIABLE} is {printable(named)}"
            raise UserError(
                f"GPU {printable(gpu)} cannot be used ({source}): {printable(answer)}; see what nvidia-smi lists, and"
                f" whether driver and torch fit each other, or {ON_CPU}"
            )


def _answer(gpu: str, launcher: Launcher, waiting: Callable[[], None]) -> str | None:
    """Why the GPU cannot be used, or None."""
    try:
        answer: str | None = launcher.call("search.training.cuda:tried", {}, device=gpu, waiting=waiting)
        return answer
    except Failed as error:  # CUDA ended the process
        return str(error)
