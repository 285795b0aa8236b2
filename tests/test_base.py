"""The base model: extension keeps what was there, and files that do not belong together are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import Xtts, _legacy_safe_globals

from search.errors import UserError
from search.preparation import base_check, extension
from search.training import base
from search.training.tokenizer import UNKNOWN_ID, Tokenizer, missing_tokens

AMHARIC = ["ሰላም ውሃ፣ ቤት።", "፲፪ ልጅ"]  # with Ethiopic punctuation and numerals


@pytest.fixture
def copy(miniature: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(miniature, tmp_path / "base"))


def extend(folder: Path, target: Path) -> list[str]:
    """`folder` extended by what AMHARIC needs, written to `target`; the tokens."""
    added = missing_tokens(Tokenizer(folder / "vocab.json"), AMHARIC, "am")
    extension.extend(folder, added, "am", 1, target)
    return added


def edit_model(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = torch.load(folder / "model.pth", weights_only=True)
    change(state["model"])
    torch.save(state, folder / "model.pth")


def test_the_stock_class_loads_the_miniature_strictly(miniature: Path) -> None:
    """`Xtts.load_checkpoint` with strict=True, as for a downloaded XTTS-v2."""
    base_check.check(miniature)
    config = XttsConfig()
    config.load_json(str(miniature / "config.json"))
    model = Xtts.init_from_config(config)
    model.load_checkpoint(config, checkpoint_dir=str(miniature), eval=True)
    assert model.gpt.text_embedding.weight.shape[0] == Tokenizer(miniature / "vocab.json").get_number_tokens()


def test_extension_keeps_old_ids_and_rows_and_its_new_rows_are_as_loud(miniature: Path, tmp_path: Path) -> None:
    made = tmp_path / "base"
    added = extend(miniature, made)
    old, new = Tokenizer(miniature / "vocab.json"), Tokenizer(made / "vocab.json")
    assert added[0] == "[am]"
    assert new.get_number_tokens() == old.get_number_tokens() + len(added)
    for token, index in old.tokenizer.get_vocab().items():
        assert new.tokenizer.token_to_id(token) == index
    before, after = weights_of(miniature), weights_of(made)
    for name, value in before.items():
        assert torch.equal(after[name][: len(value)] if value.ndim else after[name], value), name
    for name in ("text_embedding.weight", "text_head.weight"):
        assert after[name][-len(added) :].std().item() == pytest.approx(before[name].std().item(), rel=0.15)
    base_check.check(made)
    for text in AMHARIC:
        ids = new.encode(text, "am")
        assert UNKNOWN_ID not in ids
        assert new.decode(ids) == f"[am]{text}"
    assert missing_tokens(new, AMHARIC, "am") == []


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return base.gpt_weights(base.read_weights(folder / "model.pth"))


def drop(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda state: dict.__delitem__(state, name)


def shorten(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda state: state.update({name: state[name][:-3].clone()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            shorten("gpt.text_embedding.weight"),
            r"text_embedding.weight is \(95, 128\) .* extend-vocab --vocab",
        ),
        (drop("gpt.text_head.weight"), "lacks gpt.text_head.weight"),
        (drop("gpt.final_norm.weight"), "lacks gpt.final_norm.weight"),
        (shorten("gpt.mel_head.weight"), r"gpt.mel_head.weight is \(255, 128\) in model.pth and \(258, 128\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(copy: Path, change: Callable[[dict], None], message: str) -> None:
    edit_model(copy, change)
    with pytest.raises(UserError, match=message):
        base_check.check(copy)


def test_an_original_checkpoint_is_not_overwritten(copy: Path, tmp_path: Path) -> None:
    """XTTS-v2's own model.pth holds a pickled XttsConfig; coqui's loader replaces the file on the way."""
    state = torch.load(copy / "model.pth", weights_only=True)
    with _legacy_safe_globals():  # the classes' names of that time
        torch.save({**state, "config": XttsConfig()}, copy / "model.pth")
    before = (copy / "model.pth").read_bytes()
    base_check.check(copy)
    base.load_model(base.training_config(copy, (0.5, 1.0), 5.0, 100))
    extend(copy, tmp_path / "made")
    base.load_model(base.training_config(tmp_path / "made", (0.5, 1.0), 5.0, 100))
    assert (copy / "model.pth").read_bytes() == before


def test_a_vocabulary_without_start_is_refused(copy: Path) -> None:
    content = (copy / "vocab.json").read_text(encoding="utf-8").replace("[START]", "[BEGIN]")
    json.loads(content)
    (copy / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab.json has no \[START\]"):
        base_check.check(copy)
