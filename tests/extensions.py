"""What the tests of extend-vocab extend: a small base, a small corpus, a vocabulary from elsewhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from search.preparation.places import locate
from search.settings.settings import Settings, load
from search.tools.extend import Request
from search.tools.extend_vocabulary import work
from search.training.tokenizer import extended_vocabulary

TRAINING = ["ሰላም ለዓለም፡፡", "ሰላም ልጅ፣ ሰላም ቤት።", "ልጅ ፲፪ ቤት ፲፪", "ቤት ለዓለም abbaሰ abbaሰ"]
HELD_OUT = ["ፐፐፐፐ ሰላም", "ፐፐፐፐ"]  # with a letter of its own


def write_sources(folder: Path, cache: Path) -> Path:
    """A folder with `base`, the miniature with small and other files beside it, and `data`, a small Amharic corpus."""
    root, miniature = locate(load(None, {}), cache, lambda _: None)
    shutil.copytree(miniature, folder / "base")
    for name in ("LICENSE.txt", "model.pth.md5", "best_model.pth"):
        (folder / "base" / name).write_text(name)
    torch.save({}, folder / "base" / "speakers_xtts.pth")
    (folder / "data").mkdir()
    (folder / "data" / "wavs").symlink_to(root / "wavs")
    for name, texts in (("train", TRAINING), ("eval", HELD_OUT)):
        rows = [f"wavs/000{i}.wav|{text}|a" for i, text in enumerate(texts)]
        (folder / "data" / f"{name}.csv").write_text("\n".join(["audio_file|text|speaker_name", *rows]) + "\n")
    return folder


def settings_of(sources: Path, **values: Any) -> Settings:
    chosen = {
        "data.path": str(sources / "data"),
        "data.eval": "eval.csv",
        "data.language": "am",
        "base.path": str(sources / "base"),
    }
    return load(None, {**chosen, **{key.replace("__", "."): value for key, value in values.items()}})


def make(settings: Settings, folder: Path, **values: Any) -> list[str]:
    """What the process of the command does, in this one."""
    folder.mkdir()
    fields: dict[str, Any] = {
        "settings": settings.model_dump_json(),
        "folder": folder,
        "output": Path("out"),
        "tokens": 10,
        "vocabulary": None,
        "init": "matched",
        "any_letters": False,
    }
    return work(Request(**{**fields, **values}), lambda _: None)


def moved_start(sources: Path, path: Path) -> None:
    """A vocabulary extended elsewhere: its START comes last, and two letters are new."""
    content = json.loads(extended_vocabulary(sources / "base" / "vocab.json", ["[am]", "ሰ", "ላ"], [("ሰ", "ላ")]))
    model = content["model"]["vocab"]
    model["[START]"], model["ሰላ"] = model["ሰላ"], model["[START]"]
    for token in content["added_tokens"]:
        token["id"] = model[token["content"]]
    path.write_text(json.dumps(content), encoding="utf-8")
