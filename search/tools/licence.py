"""Whether the licence of a base is accepted, and by which means."""

import os
from collections.abc import Callable

from search.errors import UserError
from search.tools.base_files import Manifest

VARIABLE = "COQUI_TOS_AGREED"  # coqui's own: TTS/utils/manage.py, `tos_agreed`


def accepted(manifest: Manifest, flag: bool, ask: Callable[[], str] | None, show: Callable[[str], None]) -> str:
    """How the licence was accepted; shows what it says first.

    Args:
        flag: --accept-licence was given.
        ask: What the user typed when asked; None where nobody can be asked.
        show: Takes a line.

    Raises UserError when it was not.
    """
    given = "--accept-licence" if flag else f"{VARIABLE}=1" if os.environ.get(VARIABLE) == "1" else None
    if given is None and ask is None:
        raise UserError(
            f"{manifest.repository} is under the {manifest.licence}: only non-commercial use; read"
            f" {manifest.licence_url}, and accept it with --accept-licence or {VARIABLE}=1"
        )
    show(f"{manifest.repository} is under the {manifest.licence}, which says in short:")
    for line in manifest.terms:
        show(f"  {line}")
    show(f"Its text: {manifest.licence_url}, and LICENSE.txt of the download.")
    if given:
        show(f"Accepted by {given}.")
        return given
    assert ask is not None
    if ask().strip().lower() != "yes":
        raise UserError("the licence was not accepted; nothing was downloaded")
    return "typed at a terminal"
