"""The character error rate of what a trial spoke, by a model of transformers with random weights, made here."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from search.errors import UserError
from search.settings.settings import load
from search.training.recogniser import Recogniser
from search.training.run import run_trial
from search.trial import TrialSpec
from tests.test_speech import spoken

Make = Callable[..., TrialSpec]


def wav2vec(folder: Path) -> Path:
    """A CTC model with Amharic letters."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder.mkdir()
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<unk>", "|", *"ሰላምውሃወተት"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>")
    Wav2Vec2Processor(feature_extractor=Wav2Vec2FeatureExtractor(), tokenizer=tokenizer).save_pretrained(folder)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With random weights: real files and code, and nothing understood."""
    torch.manual_seed(1)
    return wav2vec(tmp_path_factory.mktemp("asr") / "tiny-wav2vec")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, whatever lies in the folder."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)


def test_a_recogniser_listens_to_the_spoken_and_to_the_recorded(make_spec: Make, folder: Path) -> None:
    spec = make_spec(2, evaluations=1, sentences=1, recogniser=str(folder))
    run_trial(spec)
    found = spoken(spec)
    assert found.recogniser == "tiny-wav2vec"
    sentence = found.sentences[0]
    listener = Recogniser(folder, torch.device("cpu"))
    for name, rate_of in ((sentence.spoken, sentence.cer), (sentence.recorded, sentence.recorded_cer)):
        wav, rate = soundfile.read(Path(spec.directory) / "speech" / name, dtype="float32")
        assert rate_of == pytest.approx(listener.error_rate(wav, rate, sentence.text, "am"), abs=0.35)
        assert rate_of and rate_of > 0


@pytest.mark.parametrize(("language", "told"), [("am", "<|am|>"), ("zh-cn", "<|zh|>"), ("sw", None)])
def test_a_whisper_is_told_the_language_if_it_knows_it(language: str, told: str | None) -> None:
    asked: list[dict[str, Any]] = []

    def pipeline(_sound: Any, generate_kwargs: Any = None) -> dict[str, str]:
        asked.append(generate_kwargs)
        return {"text": "heard"}

    known = SimpleNamespace(lang_to_id={"<|am|>": 1, "<|zh|>": 2})
    pipeline.model = SimpleNamespace(generation_config=known)  # type: ignore[attr-defined]
    listener = Recogniser.__new__(Recogniser)
    listener._pipeline = pipeline
    assert listener.understood(np.zeros(24_000), 24_000, language) == "heard"
    assert asked == [told and {"language": told, "task": "transcribe"}]


@pytest.mark.parametrize(
    ("understood", "text", "rate"),
    [
        ("Selam,  ALEM!", "selam alem", 0),
        ("", "selam", 1),
        ("", "…", 0),
        (" Ɛ́sí,  “ọ̀wọ́”—3 ", "ɛ́sí ọ̀wọ́ 3", 0),
        ("ɛsi", "ɛ́sí", 0.5),  # the marks of letters count
    ],
)
def test_the_error_rate_counts_characters(
    monkeypatch: pytest.MonkeyPatch, understood: str, text: str, rate: float
) -> None:
    listener = Recogniser.__new__(Recogniser)
    monkeypatch.setattr(listener, "understood", lambda *_: understood)
    assert listener.error_rate(np.zeros(9), 24_000, text, "am") == pytest.approx(rate)


@pytest.mark.parametrize("how", ["of no model", "that fails"])
def test_a_recogniser_that_cannot_be_used_costs_only_its_figures(
    make_spec: Make, tmp_path: Path, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of something else, and one whose model fails with every sound."""

    def failing(*_: Any) -> str:
        raise ValueError("`model_kwargs` are not used by the model")

    monkeypatch.setattr(Recogniser, "understood", failing)
    (tmp_path / "config.json").write_text("{}")
    given = tmp_path if how == "of no model" else folder
    spec = make_spec(2, evaluations=1, sentences=1, recogniser=str(given))
    run_trial(spec)
    assert spoken(spec).recogniser is None and spoken(spec).sentences[0].cer is None


def test_a_recogniser_that_is_no_folder_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"speech\.recogniser is .*nowhere.*not a folder with a config\.json"):
        load(None, {"speech.recogniser": str(tmp_path / "nowhere")})
