"""`study.py extend-vocab`: a base with new tokens, made in a process of its own and placed whole or not at all."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search.errors import UserError
from search.export import commit
from search.launcher import Failed, Launcher
from search.machine_cache import cache_directory, make_cache_directory
from search.parentage import Init
from search.sections import MINIATURE
from search.settings import Settings
from search.training.extend_child import Made, Request, extend_child

TOKENS = 1000  # new tokens by merges

Progress = Callable[[str], None]


def extend(
    settings: Settings,
    output: Path,
    tokens: int,
    given: Path | None,
    init: Init,
    seed: int | None,
    any_letters: bool,
    progress: Progress,
    launcher: Launcher | None = None,
) -> Made:
    """Writes the base of `settings`, extended, to the new folder `output`, whole or not at all. Raises UserError."""
    refuse_output(output)
    if given is not None and not given.is_file():
        raise UserError(f"--vocabulary is {given}, which is not a file; give a vocab.json")
    refuse_full(settings, output)
    cache = make_cache_directory()
    with placed(output) as folder:
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
        return _follow(launcher or Launcher(), request, progress)


def refuse_output(output: Path) -> None:
    """Raises UserError unless `output` can become a new folder."""
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        what = "is a folder with files in it" if output.is_dir() else "exists and is no folder"
        raise UserError(f"--output {output} {what}; nothing is overwritten: name a new folder")


def refuse_full(settings: Settings, output: Path) -> None:
    """Raises UserError when the disk of `output` has no room for another base."""
    if settings.base.path == MINIATURE:
        return
    needed = sum((Path(settings.base.path) / name).stat().st_size for name in ("model.pth", "dvae.pth"))
    there = next(p for p in output.absolute().parents if p.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"--output {output} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; make room, or name a"
            " folder on another disk"
        )


@contextmanager
def placed(output: Path) -> Iterator[Path]:
    """A temporary folder beside `output` that takes its name on success; nothing is left otherwise.

    SIGTERM ends the work as Ctrl-C does.
    """
    absent = [p for p in output.absolute().parents if not p.exists()]
    folder = None
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=output.absolute().parent, prefix=f".{output.name}."))
        yield folder
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)  # mkdtemp made it private
        os.rename(folder, output)
        absent = []
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written ({error.strerror or error}); name another folder"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in absent:
            with suppress(OSError):  # someone else's files are in it
                parent.rmdir()
        signal.signal(signal.SIGTERM, before)


def _follow(launcher: Launcher, request: Request, progress: Progress) -> Made:
    log = cache_directory() / f"extend-{os.getpid()}.log"
    child = launcher.start(extend_child, request.to_json(), str(log))
    made = None
    try:
        for message in child.messages(log):
            match message:
                case {"kind": "progress", "text": text}:
                    progress(text)
                case {"kind": "extended", "made": found}:
                    made = Made(**found)
    except Failed as error:
        raise UserError(f"extending the vocabulary failed: {error}") from error
    assert made is not None, "it ends well only after it has said so"
    return made
