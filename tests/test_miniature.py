"""The miniature: the same bits everywhere, a real base in a small size."""

import hashlib
from pathlib import Path

import torch

from search.preparation.places import locate
from search.settings.settings import load

# Of the generated files, as made where docs/experiments.md was measured.
SPEECH_DIGEST = "1eead0dc5cb5a217"
WEIGHTS_DIGEST = "46d71ed0198aef34"


def digest_of(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def test_speech_has_the_same_bits_as_everywhere(cache: Path) -> None:
    root, _ = locate(load(None, {}), cache, lambda _: None)
    assert digest_of([file for file in root.rglob("*") if file.is_file()]) == SPEECH_DIGEST


def test_weights_have_the_same_bits_as_everywhere(miniature: Path) -> None:
    """Every parameter of model.pth and dvae.pth; the files themselves also hold buffers of torch's making."""
    digest = hashlib.sha256()
    for name in ("model.pth", "dvae.pth"):
        state = torch.load(miniature / name, weights_only=True)
        for key, value in sorted(state.get("model", state).items()):
            if key.endswith((".weight", ".bias", "embed")):
                digest.update(key.encode() + value.contiguous().numpy().tobytes())
    assert digest.hexdigest()[:16] == WEIGHTS_DIGEST
    assert sum(file.stat().st_size for file in miniature.iterdir()) < 21_000_000  # 1/100 of XTTS-v2
