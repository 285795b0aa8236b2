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

    root, directory = settings.data.path, settings.base.path
    if root == MINIATURE:
        root = cache / f"miniature-speech-{sources.digest('search.preparation.miniature_speech')}"
        make_once(root, speak, lambda: progress("waiting for another search, which makes the miniature"))
    if directory == MINIATURE:
        directory = cache / f"miniature-base-{_base_digest()}"
        make_once(directory, write, lambda: progress("waiting for another search, which makes the miniature"))
    return Path(root), Path(directory)


def _base_digest() -> str:
    """Digest of the weights and of the code that writes them."""
    weights = Path(__file__).with_name("miniature_weights.npz").read_bytes()
    return hashlib.sha256(weights + sources.digest("search.preparation.miniature_base").encode()).hexdigest()[:16]
