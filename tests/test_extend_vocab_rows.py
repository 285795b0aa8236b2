"""Vocabularies that are given, and the rows of an extended model."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from search.errors import UserError
from search.preparation import vocabulary
from search.preparation.extension import Layout, extended_rows, layout
from search.preparation.vocabulary import Vocabulary
from search.training.tokenizer import extended_vocabulary

Content = dict[str, Any]


@pytest.fixture(scope="module")
def old(miniature: Path) -> Vocabulary:
    return vocabulary.read(miniature / "vocab.json", "base.path")


@pytest.fixture
def variant(old: Vocabulary, tmp_path: Path) -> Callable[..., Path]:
    """The miniature's vocabulary with two letters and a merge of them, then changed."""

    def make(change: Callable[[Content], object] = lambda _: None) -> Path:
        content = json.loads(extended_vocabulary(old.path, ["[am]", "ሰ", "ላ"], [("ሰ", "ላ")]))
        change(content)
        (tmp_path / "given.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path / "given.json"

    return make


def accept(old: Vocabulary, path: Path) -> Vocabulary:
    """As extend-vocab takes a given vocabulary."""
    new = vocabulary.read(path, "--vocabulary")
    vocabulary.refuse_lost(old, new, "--vocabulary")
    vocabulary.refuse_odd_ids(old, new, "--vocabulary")
    return new


def words(content: Content) -> dict[str, int]:
    found: dict[str, int] = content["model"]["vocab"]
    return found


def forget(*tokens: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in tokens]
        content["model"]["merges"] = [m for m in content["model"]["merges"] if not {*m, "".join(m)} & set(tokens)]
        for token in tokens:
            words(content).pop(token, None)

    return change


def swap(one: str, other: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        known = words(content)
        known[one], known[other] = known[other], known[one]
        for token in content["added_tokens"]:
            token["id"] = known[token["content"]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: words(c).update({"ቤ": 101}), r"gives id 101 to both .* and .*; give one of them an id of its own"),
        (lambda c: words(c).update({"ቤ": 500}), r"has no token for id 102 103 .* of 501; number the tokens without"),
        (forget("[START]"), r"has no \[START\]; it is not an XTTS vocabulary"),
        (forget("wind", "z"), r"lacks 2 of the 98 tokens of base.path \(z wind\): it was not made from that base"),
        (swap("[STOP]", "ሰ"), r"has \[STOP\] at 99 and \[UNK\] at 1; coqui's training counts on 0 and 1"),
        (lambda c: c["model"].update(type="WordPiece"), "is not a vocabulary of tokenizers"),
        (lambda c: c["model"].update(end_of_word_suffix="</w>"), "which XTTS has: BPE end_of_word_suffix"),
        (lambda c: c["model"]["merges"].append(["q", "nowhere"]), "is not a vocabulary of tokenizers"),
    ],
)
def test_given_vocabularies_that_are_refused(
    old: Vocabulary, variant: Callable[..., Path], change: Callable[[Content], object], message: str
) -> None:
    path = variant(change)
    with pytest.raises(UserError, match=message) as error:
        accept(old, path)
    assert str(error.value).startswith("--vocabulary ")
    assert "\n" not in str(error.value)


def test_a_hole_of_the_bases_own_is_no_mistake(old: Vocabulary, variant: Callable[..., Path], tmp_path: Path) -> None:
    """XTTS counts rows by the highest id and not by the number of tokens; the hole keeps its row."""
    content = json.loads(extended_vocabulary(old.path, []))
    forget("wind")(content)
    (tmp_path / "holey.json").write_text(json.dumps(content), encoding="utf-8")
    holey = vocabulary.read(tmp_path / "holey.json", "base.path")
    assert holey.holes == {old.ids["wind"]}
    new = accept(holey, variant(forget("wind")))
    assert layout(holey, new).sources == [*range(98), None, None, None, None]
    filled = accept(holey, variant())  # the hole has become a token
    assert layout(holey, filled).sources[old.ids["wind"]] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: None, None),
        (lambda c: c["model"]["merges"].append(["x", "ሰ"]) or words(c).update({"xሰ": 102}), None),
        (
            lambda c: c["model"]["merges"].append(["x", "q"]) or words(c).update({"xq": 102}),
            r"1 merges join letters that the base has \(xq\)",
        ),
        (lambda c: c["model"]["merges"].reverse(), "the base's merges do not come first"),
        (
            lambda c: c["added_tokens"].append({**c["added_tokens"][0], "content": "the", "id": 102}),
            r"1 added tokens are found in any text \(the\)",
        ),
    ],
)
def test_what_changes_old_texts(
    old: Vocabulary, variant: Callable[..., Path], change: Callable[[Content], object], reason: str | None
) -> None:
    found = vocabulary.changes(old, accept(old, variant(change)))
    if reason is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(reason, found[0])


SIX = Layout([0, 1, 2, None, None, None], {5: [0, 3]})


def make(init: Any, old: torch.Tensor, seed: int = 1, rows: Layout = SIX) -> torch.Tensor:
    return extended_rows(old, rows, init, torch.Generator().manual_seed(seed))


def test_initialisations() -> None:
    old = torch.tensor([[1.0, 100.0], [2.0, 100.0], [3.0, 100.0]])
    for init in ("matched", "stock", "mean", "parts"):
        assert torch.equal(make(init, old)[:3], old)
    assert torch.equal(make("mean", old)[3:], torch.tensor([[2.0, 100.0]] * 3))
    assert torch.equal(make("matched", old)[3:, 1], torch.full((3,), 100.0))  # a column without spread has none
    parts = make("parts", old)
    assert torch.equal(parts[3:5], make("matched", old)[3:5])
    assert torch.allclose(parts[5], (parts[0] + parts[3]) / 2)
    for init, bias in (("matched", 2.0), ("mean", 2.0), ("stock", 0.0)):
        assert make(init, torch.tensor([1.0, 2.0, 3.0]))[3:].tolist() == [bias] * 3


def test_drawn_rows_have_the_promised_mean_and_spread() -> None:
    torch.manual_seed(0)
    old = torch.randn(400, 8) * torch.linspace(0.1, 3, 8) + torch.linspace(-5, 5, 8)
    for init, mean, std in (("matched", old.mean(0), old.std(0)), ("stock", torch.zeros(8), torch.ones(8))):
        made = make(init, old, rows=Layout([*range(400), *[None] * 4000]))[400:]
        assert torch.allclose(made.mean(0), mean, atol=0.15)
        assert torch.allclose(made.std(0), std, rtol=0.1)
