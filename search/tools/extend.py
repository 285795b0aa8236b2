"""`study.py extend-vocab`: a base with new tokens, made in a process of its own and placed whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from search.errors import UserError
from search.files import whole_folder
from search.preparation.parentage import Init
from search.workers.launcher import Failed, Launcher
from search.workers.session import told

TARGET = "search.tools.extend_vocabulary:run"
TOKENS = 1000  # new tokens by merges


@dataclass(frozen=True)
class Request:
    """What is to be made."""

    settings: str  # JSON of the Settings that name data and base, and the random seed
    output: Path  # the new folder
    tokens: int  # new tokens by merges, beside letters and tag
    vocabulary: Path | None  # a file extended elsewhere, instead of merges learned here
    init: Init  # of new rows
    any_letters: bool  # merges may join letters that the base has
    folder: Path = Path()  # the folder's name until it is whole


def extend(request: Request, progress: Callable[[str], None]) -> list[str]:
    """Writes the base of the request, extended, to its new folder, whole or not at all; returns what to tell the user.

    Raises UserError.
    """
    output = request.output.absolute()
    if output.is_symlink() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise UserError(
            f"--output {request.output} exists and is not an empty folder; nothing is overwritten: name a new folder"
        )
    if request.vocabulary and not request.vocabulary.is_file():
        raise UserError(f"--vocabulary is {request.vocabulary}, which is not a file; give a vocab.json")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(output) as folder:
            progress("loading torch and TTS")
            lines: list[str] = Launcher().call(TARGET, {"request": replace(request, folder=folder)}, told(progress))
            return lines
    except Failed as error:
        raise UserError(f"extending the vocabulary failed: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--output {request.output} cannot be written ({reason}); name another folder") from error
