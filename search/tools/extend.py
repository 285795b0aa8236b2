"""`study.py extend-vocab`: a base with new tokens, made in a process of its own and placed whole or not at all."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from search.confirmation.export import commit
from search.errors import UserError
from search.files import whole_folder
from search.preparation.cache import make_cache_directory
from search.preparation.parentage import Init
from search.settings.sections import MINIATURE
from search.settings.settings import Settings
from search.tools.extension_request import Made, Request
from search.workers.launcher import Failed, Launcher
from search.workers.session import told

TARGET = "search.tools.extend_vocabulary:run"
TOKENS = 1000  # new tokens by merges


def extend(
    settings: Settings,
    output: Path,
    tokens: int,
    given: Path | None,
    init: Init,
    seed: int | None,
    any_letters: bool,
    progress: Callable[[str], None],
) -> Made:
    """Writes the base of `settings`, extended, to the new folder `output`, whole or not at all. Raises UserError."""
    refuse_output(output)
    if given is not None and not given.is_file():
        raise UserError(f"--vocabulary is {given}, which is not a file; give a vocab.json")
    cache = make_cache_directory()
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        refuse_full(settings, output)
        with whole_folder(output.absolute()) as folder:
            request = Request(
                settings=settings.model_dump_json(),
                folder=str(folder),
                output=str(output),
                tokens=tokens,
                vocabulary=str(given.absolute()) if given else None,
                init=init,
                seed=settings.study.seed if seed is None else seed,
                any_letters=any_letters,
                cache=str(cache),
                commit=commit() or "unknown",
            )
            progress("loading torch and TTS")
            return Made(**Launcher().call(TARGET, {"request": asdict(request)}, told(progress)))
    except Failed as error:
        raise UserError(f"extending the vocabulary failed: {error}") from error
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written ({error.strerror or error}); name another folder"
        ) from error


def refuse_output(output: Path) -> None:
    """Raises UserError unless `output` can become a new folder."""
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        what = "is a folder with files in it" if output.is_dir() else "exists and is not a folder"
        raise UserError(f"--output {output} {what}; nothing is overwritten: name a new folder")


def refuse_full(settings: Settings, output: Path) -> None:
    """Raises UserError when the disk of `output` has no room for another base."""
    if settings.base.path == MINIATURE:
        return
    needed = sum((Path(settings.base.path) / name).stat().st_size for name in ("model.pth", "dvae.pth"))
    free = shutil.disk_usage(output.absolute().parent).free
    if free < needed:
        raise UserError(
            f"--output {output} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; make room, or name a"
            " folder on another disk"
        )
