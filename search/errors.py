"""Errors that a user can act on. Exit codes say whether the same command may succeed later (docs/operations.md)."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from search.text import printable

LONGEST = 1000  # characters of a line for people, which may quote a value of any length
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # what a disk that is full, or a quota that is used up, says
BUDGET_SPENT = 4  # runs are missing, and the study's budget has no room for them; a larger one goes on


class UserError(ValueError):
    """Bad input: the message names the field, the value, what is allowed and the next step.

    Args:
        message: One line. Line ends become blanks, what no terminal prints its code, and a long one is cut.
        details: Further lines, one per difference or problem.
    """

    exit_code = 2  # the same command would fail again

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(_one_line(message))
        self.details = tuple(map(_one_line, details))


def _one_line(text: str) -> str:
    """Of a long one the middle is left out: its end is advice."""
    told = printable(" ".join(text.splitlines()))
    return told if len(told) <= LONGEST else f"{told[: LONGEST // 2]} … {told[-LONGEST // 2 :]}"


class NoResult(UserError):
    """Runs fail, or none of them completed: there is nothing to export, and somebody should look."""

    exit_code = 1


class Halted(UserError):
    """People stopped the study for all machines, and only they can let it go on."""

    exit_code = 3


class TryAgain(UserError):
    """Something outside this machine is away, as a database that restarts: the same command may succeed later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, and what led to it, the nearest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def named_full_disk(what: str, next_step: str) -> Iterator[None]:
    """Raises UserError, "`what` (the system's reason); `next_step`", where the disk is too full for the block.

    torch raises an error of its own then, with the system's as its context.
    """
    try:
        yield
    except Exception as error:
        if (full := of_full_disk(error)) is not None:
            raise UserError(f"{what} ({full.strerror}); {next_step}") from error
        raise


def of_full_disk(error: BaseException) -> OSError | None:
    """The system's error behind `error`, where a disk is full."""
    found = (cause for cause in causes(error) if isinstance(cause, OSError) and cause.errno in FULL)
    return next(found, None)


def first_line(error: BaseException) -> str:
    """The first line of an error, or its kind when it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
