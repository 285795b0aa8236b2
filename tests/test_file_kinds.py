"""Files of a base, and checkpoints, that are something else: each is named, with what it is and the next step."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.errors import UserError
from search.preparation import base_check, vocabulary
from search.settings.settings import load
from search.tools import bench
from search.training import base

WEB_PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head>" + 3000 * b"x"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:c7ea2000\nsize 1867929118\n"
ANY = {
    "web page": (WEB_PAGE, "is a web page, 3,061 bytes; download it again"),
    "pointer": (POINTER, "is a Git LFS pointer, 79 bytes; run git lfs pull"),
    "nothing": (b"", ", 0 bytes; download it again"),
    "archive": (b"\x1f\x8b\x08\0\0", "is a compressed archive, 5 bytes; unpack it"),
}
WEIGHTS = {
    "server's answer": (b'{"error": "not found"}', "is JSON, 22 bytes"),
    "bytes": (bytes(297), "is no file of torch, 297 bytes"),
}
JSON = {
    "no JSON": (b"{'model_args': {}}", "is cut short, or not JSON in UTF-8 (line 1)"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "is cut short, or not JSON in UTF-8, 10 bytes"),
    "other JSON": (b'{"a": 1}', "; "),
}
# What torch and tokenizers say, and names of exceptions, are for authors of code.
INSIDE = ("weights_only", "mmap", "Unpickl", "PytorchStream", "Error(", "Errno", "expected value", "Traceback")


@pytest.fixture
def folder(miniature: Path, tmp_path: Path) -> Path:
    """The miniature, as links."""
    for path in miniature.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as info:
        base_check.check(folder)
    line = str(info.value)
    assert "\n" not in line and not [word for word in INSIDE if word in line], line
    assert line.startswith(f"base.path {folder}")
    return line.removeprefix(f"base.path {folder}").lstrip(":/ ")


@pytest.mark.parametrize("name", base.FILES)
def test_each_file_of_a_base_is_named_with_what_it_is(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    assert refused(folder).startswith(f"{name} cannot be read (No such file or directory); download it again")
    cut = {"cut": (whole[: len(whole) // 2], "is cut short")}
    for content, expected in {**ANY, **(JSON if name.endswith("json") else WEIGHTS), **cut}.values():
        (folder / name).write_bytes(content)
        line = refused(folder)
        assert line.startswith(f"{name} ") and expected in line, line


def change_model(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = torch.load(folder / "model.pth", weights_only=True)
    (folder / "model.pth").unlink()
    torch.save(change(content), folder / "model.pth")


def fine_tuned(content: dict[str, Any]) -> dict[str, Any]:
    """As coqui's trainer saves one, with a loss as NumPy made it."""
    model = {f"xtts.{k}": v for k, v in content["model"].items()} | {"dvae.x": torch.zeros(1)}
    return {"model": model, "model_loss": {"train_loss": np.float64(1.5)}, "step": 123, "config": {"lr": 1e-5}}


@pytest.mark.parametrize("change", [lambda c: c["model"], lambda c: fine_tuned(c)["model"], fine_tuned])
def test_bare_and_fine_tuned_weights_are_read(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    expected = base.read_weights(folder / "model.pth")
    change_model(folder, change)
    base_check.check(folder)
    assert all(torch.equal(value, expected[name]) for name, value in base.read_weights(folder / "model.pth").items())


class Harm:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch harm-was-done",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: {**c, "x": Harm()}, "model.pth contains posix.system, which may run code, so it is not loaded"),
        (
            lambda c: {"model": base.gpt_weights(c["model"])},
            "model.pth lacks hifigan_decoder.waveform_decoder.conv_pre",
        ),
        (lambda _: [1], "model.pth contains no weights of a model; take the file of the base"),
    ],
)
def test_other_weights_are_refused(folder: Path, change: Callable[[dict[str, Any]], Any], expected: str) -> None:
    change_model(folder, change)
    assert refused(folder).startswith(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"gpt_layers": "2"}, "config.json has values that no XTTS model can be made with; take"),
        ({"gpt_layers": 1}, "model.pth has gpt.gpt.h.1.ln_1.weight, which its config.json does not call for; take all"),
        ({"gpt_layers": 9}, "model.pth lacks gpt.gpt.h.2.ln_1.weight, which its config.json calls for; take all files"),
    ],
)
def test_a_config_of_another_model_is_refused(folder: Path, values: dict[str, Any], expected: str) -> None:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").unlink()
    content["model_args"].update(values)
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    assert refused(folder).startswith(expected)


def test_a_base_without_model_beside_fine_tuned_checkpoints_says_what_to_name(folder: Path) -> None:
    (folder / "model.pth").rename(folder / "best_model_123.pth")
    with pytest.raises(
        UserError, match=r"lacks model.pth; .*; best_model_123.pth is a fine-tuned checkpoint: to start"
    ):
        load(None, {"base.path": str(folder)})
    (folder / "best_model_123.pth").rename(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"lacks model.pth; .*; weights in a .safetensors file are not read: take the"):
        load(None, {"base.path": str(folder)})


def test_vocabularies_and_checkpoints_that_are_given_are_told_in_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(WEB_PAGE)
    with pytest.raises(UserError, match=r"--vocabulary .*file is a web page, 3,061 bytes; download it again"):
        vocabulary.read(tmp_path / "file", "--vocabulary")
    assert bench._opened(tmp_path / "file") == {"reason": "is a web page, 3,061 bytes"}
