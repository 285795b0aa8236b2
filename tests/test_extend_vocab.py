"""`study.py extend-vocab`: the base that it makes, and all that it leaves when it makes none."""

import hashlib
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import Xtts

from search.errors import UserError
from search.preparation import base_check, extension, parentage
from search.preparation.parentage import Init
from search.preparation.places import locate
from search.settings.settings import load
from search.training import base, corpus
from search.training.new_rows import TENSORS
from search.training.tokenizer import UNKNOWN_ID, Tokenizer
from search.trial import Prepared
from tests.extension_figures import table
from tests.extensions import HELD_OUT, TRAINING, make, moved_start, settings_of, write_sources


@pytest.fixture(scope="module")
def sources(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"), cache)


@pytest.fixture(scope="module")
def made(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    folder = tmp_path_factory.mktemp("made") / "base"
    return make(settings_of(sources), folder), folder


def test_the_folder_is_a_base_of_copies(sources: Path, made: tuple[list[str], Path]) -> None:
    folder = made[1]
    base_check.check(folder)
    expected = {"LICENSE.txt", "speakers_xtts.pth", "extension.json", *base.FILES}
    assert {path.name for path in folder.iterdir()} == expected
    assert not any(path.is_symlink() for path in folder.iterdir())
    for name in ("LICENSE.txt", "speakers_xtts.pth", "dvae.pth", "mel_stats.pth"):
        assert (folder / name).read_bytes() == (sources / "base" / name).read_bytes()


def test_tag_letters_and_merges_come_in_this_order(made: tuple[list[str], Path]) -> None:
    """Letters also of the eval texts; merges of the training texts alone, and never of two old tokens."""
    ids = json.loads((made[1] / "extension.json").read_text(encoding="utf-8"))["added"]
    assert list(ids.values()) == sorted(ids.values())
    tokens = list(ids)
    letters = [token for token in tokens if len(token) == 1]
    assert tokens[: 1 + len(letters)] == ["[am]", *sorted(letters)]
    assert set("ሰላምለዓልጅቤት።፡፣፲፪ፐ") == set(letters)
    merged = tokens[1 + len(letters) :]
    assert len(merged) == 9 and f"the tag [am], {len(letters)} letters, 9 tokens by merges" in made[0][0]
    assert {"ሰላም", "ልጅ", "ቤት", "፲፪"} < set(merged)
    assert not any("ፐ" in token for token in merged)


def test_every_text_is_tokenised_and_comes_back(made: tuple[list[str], Path]) -> None:
    tokenizer = Tokenizer(made[1] / "vocab.json")
    for text in (*TRAINING, *HELD_OUT):
        ids = tokenizer.encode(text, "am")
        assert UNKNOWN_ID not in ids
        assert tokenizer.decode(ids) == f"[am]{tokenizer.preprocess_text(text, 'am')}"
    words = [word for text in TRAINING for word in tokenizer.preprocess_text(text, "am").split()]
    tokens = sum(len(tokenizer.tokenizer.encode(word).ids) for word in words)
    found = re.search(r": (\d+) words, ([\d.]+) tokens per word with the letters alone, ([\d.]+) now", "".join(made[0]))
    assert found and int(found[1]) == len(words)
    assert float(found[3]) == pytest.approx(tokens / len(words), abs=0.005)
    assert float(found[3]) < 0.7 * float(found[2])


def test_the_stock_class_loads_it(made: tuple[list[str], Path]) -> None:
    config = XttsConfig()
    config.load_json(str(made[1] / "config.json"))
    ids = Tokenizer(made[1] / "vocab.json").tokenizer.get_vocab()
    assert config.model_args.gpt_number_text_tokens == len(ids)
    assert config.model_args.gpt_start_text_token == ids["[START]"]
    assert config.model_args.gpt_stop_text_token == ids["[STOP]"] == 0
    assert config.languages == ["en", "am"]
    model = Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(made[1]), eval=True)
    assert (model.gpt.start_text_token, model.gpt.stop_text_token) == (ids["[START]"], 0)
    assert model.gpt.text_embedding.num_embeddings == len(ids)


def test_the_note_of_parentage(sources: Path, made: tuple[list[str], Path]) -> None:
    text = (made[1] / "extension.json").read_text(encoding="utf-8")
    note = json.loads(text)
    for name in base.FILES:
        assert note["parent"]["files"][name] == hashlib.sha256((sources / "base" / name).read_bytes()).hexdigest()
    assert note["corpus"] == hashlib.sha256("".join(f"{t}\n" for t in TRAINING).encode()).hexdigest()
    assert [note[key] for key in ("texts", "init", "seed", "language")] == [4, "matched", 1, "am"]
    assert note["learned"] == {"asked": 10, "any_letters": False}
    assert note["parent"]["tokens"] == 98
    assert parentage.new_rows(made[1]) == list(range(98, note["tokens"])) == list(note["added"].values())
    assert parentage.new_rows(sources / "base") == []
    assert str(sources) not in text and "/tmp" not in text


def test_rows_that_were_never_trained_are_remembered(
    sources: Path, made: tuple[list[str], Path], tmp_path: Path
) -> None:
    """A base that is extended twice, by the command and for a search; a moved row keeps being new."""
    further = settings_of(sources, base__path=str(made[1]), data__language="ti")
    make(further, tmp_path / "twice", tokens=0)
    after = Tokenizer(made[1] / "vocab.json").get_number_tokens()
    assert parentage.new_rows(tmp_path / "twice") == list(range(98, after + 1))
    assert extension.extend(made[1], ["[ti]", "ቕ"], "ti", 1, tmp_path / "prepared") == list(range(98, after + 2))
    assert extension.extend(sources / "base", ["[ti]"], "ti", 1, tmp_path / "plain") == [98]


def test_a_vocabulary_that_was_extended_elsewhere(sources: Path, tmp_path: Path) -> None:
    moved_start(sources, tmp_path / "given.json")
    found = make(settings_of(sources), tmp_path / "base", vocabulary=tmp_path / "given.json", init="mean")
    folder = tmp_path / "base"
    base_check.check(folder)
    assert (folder / "vocab.json").read_bytes() == (tmp_path / "given.json").read_bytes()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_args"]
    assert (config["gpt_start_text_token"], config["gpt_number_text_tokens"]) == (101, 102)
    old = Tokenizer(sources / "base" / "vocab.json").tokenizer.get_vocab()
    new = Tokenizer(folder / "vocab.json").tokenizer.get_vocab()
    before, after = base.read_weights(sources / "base" / "model.pth"), base.read_weights(folder / "model.pth")
    for name in TENSORS:
        values, rows = before[f"gpt.{name}"], after[f"gpt.{name}"]
        for token in old:
            assert torch.equal(rows[new[token]], values[old[token]]), (name, token)
        assert torch.allclose(rows[new["ሰላ"]], values.mean(0), atol=1e-6)
    assert parentage.new_rows(folder) == [96, 98, 99, 100]
    (lacking,) = [line for line in found if line.startswith("warning: ")]
    assert "tokens that the corpus needs" in lacking and "ፐ" in lacking and "ሰ" not in lacking
    note = json.loads((folder / "extension.json").read_text(encoding="utf-8"))
    assert "learned" not in note
    assert note["vocabulary"] == hashlib.sha256((tmp_path / "given.json").read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"has the tokens of .* and no others; nothing would be added"):
        make(settings_of(sources), tmp_path / "same", vocabulary=sources / "base" / "vocab.json")


def test_a_language_without_new_letters(sources: Path, tmp_path: Path) -> None:
    """Latin script: nothing to add under the guarantee, until the user gives it up, and is told what that means."""
    data = tmp_path / "data"
    shutil.copytree(sources / "data", data, symlinks=True)
    for name in ("train", "eval"):
        rows = [f"wavs/000{i}.wav|qwaqwa qwaqwa|a" for i in range(2)]
        (data / f"{name}.csv").write_text("\n".join(["audio_file|text|speaker_name", *rows]) + "\n")
    english = settings_of(sources, data__path=str(data), data__language="en")
    with pytest.raises(UserError, match=r"a token for every letter of the texts.*--any-letters joins letters"):
        make(english, tmp_path / "refused")
    found = make(english, tmp_path / "base", any_letters=True)
    assert re.search(r"new ones: \d+ tokens by merges;", found[0])
    assert found[-1].startswith("warning: texts in the base's other languages")
    assert "join letters that the base has" in found[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is 2: it must be 1"),
        ({"new_rows": [1, 1]}, "new_rows must be different ids below"),
        ({"new_rows": [10**6]}, "new_rows must be different ids below"),
        *((content, "cannot be read") for content in (b"", b"[]")),
    ],
)
def test_notes_that_cannot_be_read(
    made: tuple[list[str], Path], tmp_path: Path, change: dict[str, Any] | bytes, message: str
) -> None:
    note = json.loads((made[1] / "extension.json").read_text(encoding="utf-8"))
    content = change if isinstance(change, bytes) else json.dumps({**note, **change}).encode()
    (tmp_path / "extension.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        parentage.new_rows(tmp_path)
    assert "\n" not in str(error.value)


# What it computes


def test_english_is_computed_as_before_and_amharic_starts_near_chance(prepared: Prepared, cache: Path) -> None:
    """The audio loss, and the text loss over the old tokens, are as before; the whole text loss is of a softmax with
    more tokens to choose from. The figures are in docs/vocabulary.md.
    """
    clips = corpus.load(Path(prepared.directory) / "corpus")
    found = table(locate(load(None, {}), cache, lambda _: None)[1], clips, count=200, clips_each=6)
    before, chance = found["before"], math.log(317)  # 5.76 nats of text
    for init in get_args(Init):
        assert found[init].english_tokens == before.english_tokens
        assert found[init].english_mel == pytest.approx(before.english_mel, abs=1e-5)
        assert found[init].english_text_old == pytest.approx(before.english_text_old, abs=1e-5)
    for init in ("matched", "mean", "parts"):
        assert before.english_text < found[init].english_text < before.english_text + 0.3
        assert math.isfinite(found[init].amharic_mel)
        assert chance < found[init].amharic_text < 1.5 * chance
    for init in ("stock", "coqui's resize"):
        assert found[init].english_text > 20
        assert found[init].amharic_text > 4 * chance
