"""Errors that are the user's to mend."""

from collections.abc import Sequence


class UserError(ValueError):
    """Bad input: the message names the field, the value, what is allowed and the next step.

    Args:
        message: One line.
        details: Further lines, where there are several things to say.
    """

    exit_code = 2  # never: the same command would end so again

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)
