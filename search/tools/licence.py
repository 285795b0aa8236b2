"""Whether the licence of a base is accepted, and how."""

import os
from collections.abc import Callable

from search.errors import UserError
from search.tools.base_files import PinnedBase

VARIABLE = "COQUI_TOS_AGREED"  # coqui's own: TTS/utils/manage.py, `tos_agreed`


def acceptance(base: PinnedBase, flag: bool, ask: Callable[[], str] | None) -> str:
    """How the licence was accepted. Prints a summary of it first; raises UserError when it was not accepted.

    Args:
        flag: --accept-licence was given.
        ask: Returns what the user types when asked; None where nobody can be asked.
    """
    given = "--accept-licence" if flag else f"{VARIABLE}=1" if os.environ.get(VARIABLE) == "1" else None
    if given is None and ask is None:
        raise UserError(
            f"{base.repository} is under the {base.licence}, for non-commercial use only; read"
            f" {base.licence_url} and accept it with --accept-licence or {VARIABLE}=1"
        )
    print(f"{base.repository} is under the {base.licence}. In short:", *base.terms, sep="\n  ")
    print(f"Full text: {base.licence_url}, and LICENSE.txt of the download.")
    if given:
        print(f"Accepted by {given}.", flush=True)
        return given
    assert ask is not None
    if ask().strip().lower() != "yes":
        raise UserError("the licence was not accepted; nothing was downloaded")
    return "typed at a terminal"
