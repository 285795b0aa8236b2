"""Errors that are the user's to mend."""


class UserError(ValueError):
    """Bad input: the message names the field, the value, what is allowed and the next step. Exit code 2."""
