"""Where data and base are; those of the miniature are made on first use."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from search import sources
from search.preparation.cache import make_once
from search.settings.sections import MINIATURE
from search.settings.settings import Settings

Progress = Callable[[str], None]

WEIGHTS = Path(__file__).with_name("miniature_weights.npz")


def locate(settings: Settings, cache: Path, progress: Progress) -> tuple[Path, Path]:
    """(corpus root, base directory)."""

    def speak(folder: Path) -> None:
        progress("generating the miniature's Amharic speech")
        # A new process: the synthesiser keeps state, and its output must not depend on earlier calls.
        subprocess.run(
            [sys.executable, "-m", "search.preparation.miniature_speech", "amharic", str(folder)], check=True
        )

    def write(folder: Path) -> None:
        from search.preparation.miniature_base import write_base

        progress("writing the miniature base model")
        write_base(folder)

    def wait() -> None:
        progress("waiting for another search, which makes the miniature")

    root, directory = settings.data.path, settings.base.path
    if root == MINIATURE:
        root = cache / f"miniature-speech-{sources.digest('search.preparation.miniature_speech')}"
        make_once(root, speak, wait)
    if directory == MINIATURE:
        # Of the weights, and of the code that writes them.
        code = sources.digest("search.preparation.miniature_base").encode()
        directory = cache / f"miniature-base-{hashlib.sha256(WEIGHTS.read_bytes() + code).hexdigest()[:16]}"
        make_once(directory, write, wait)
    return Path(root), Path(directory)
