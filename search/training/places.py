"""Where data and base lie; the miniature's are made on first use."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from search.machine_cache import make_once
from search.sections import MINIATURE
from search.settings import Settings

Progress = Callable[[str], None]


def locate(settings: Settings, cache: Path, progress: Progress) -> tuple[Path, Path]:
    """(corpus root, base directory)."""

    def speak(folder: Path) -> None:
        progress("generating the miniature's Amharic speech")
        # A fresh process: the synthesiser keeps state, and its output must not depend on what came before.
        subprocess.run([sys.executable, "-m", "search.miniature.speech", "amharic", str(folder)], check=True)

    def write(folder: Path) -> None:
        from search.miniature.base import write_base

        progress("writing the miniature base model")
        write_base(folder)

    root, directory = settings.data.path, settings.base.path
    if root == MINIATURE:
        root = cache / f"miniature-speech-{_source_digest('speech.py', 'texts.py')}"
        make_once(root, speak, lambda: progress("waiting for another search, which makes the miniature"))
    if directory == MINIATURE:
        directory = cache / f"miniature-base-{_source_digest('base.py', 'weights.npz')}"
        make_once(directory, write, lambda: progress("waiting for another search, which makes the miniature"))
    return Path(root), Path(directory)


def _source_digest(*names: str) -> str:
    """Names the generated files by what makes them."""
    folder = Path(__file__).parent.parent / "miniature"
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:12]
