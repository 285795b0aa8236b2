"""The character error rate of what a trial spoke, by models of transformers with random weights, made here."""

import json
from collections.abc import Callable
from pathlib import Path
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


def whisper(folder: Path) -> Path:
    """A Whisper whose tokens are bytes, which knows Amharic and Chinese."""
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder.mkdir()
    end, start, languages = "<|endoftext|>", "<|startoftranscript|>", ["<|am|>", "<|zh|>"]
    tasks, rest = ["<|translate|>", "<|transcribe|>"], ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    ids = {token: i for i, token in enumerate([end, start, *languages, *tasks, *rest], 256)}
    vocabulary = {sign: byte for byte, sign in enumerate(bytes_to_unicode().values())}
    tokenizer = WhisperTokenizer(
        vocabulary, [], pad_token=end, additional_special_tokens=[start, *languages, *tasks, *rest]
    )
    assert tokenizer.convert_tokens_to_ids(list(ids)) == list(ids.values())
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    ends = dict.fromkeys(("eos_token_id", "pad_token_id", "bos_token_id"), ids[end])
    config = WhisperConfig(
        vocab_size=len(vocabulary) + len(ids) + 1501, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_target_positions=64, decoder_start_token_id=ids[start], suppress_tokens=None, begin_suppress_tokens=None,
        **ends,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids[start],
        lang_to_id={token: ids[token] for token in languages},
        task_to_id={token.strip("<|>"): ids[token] for token in tasks},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        is_multilingual=True,
        max_length=40,
        **ends,
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recognisers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With random weights: real files and code, and nothing understood."""
    folder = tmp_path_factory.mktemp("asr")
    torch.manual_seed(1)
    return {make.__name__: make(folder / f"tiny-{make.__name__}") for make in (wav2vec, whisper)}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, whatever lies in the folder."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize("kind", ["wav2vec", "whisper"])
def test_a_recogniser_listens_to_the_spoken_and_to_the_recorded(
    make_spec: Make, recognisers: dict[str, Path], kind: str
) -> None:
    spec = make_spec(2, evaluations=1, sentences=1, recogniser=str(recognisers[kind]))
    run_trial(spec)
    found = spoken(spec)
    assert found.recogniser == f"tiny-{kind}"
    sentence = found.sentences[0]
    listener = Recogniser(recognisers[kind], torch.device("cpu"))
    for name, rate_of in ((sentence.spoken, sentence.cer), (sentence.recorded, sentence.recorded_cer)):
        wav, rate = soundfile.read(Path(spec.directory) / "speech" / name, dtype="float32")
        assert rate_of == pytest.approx(listener.error_rate(wav, rate, sentence.text, "am"), abs=0.35)
        assert rate_of and rate_of > 0


@pytest.mark.parametrize(("language", "told"), [("am", "<|am|>"), ("zh-cn", "<|zh|>"), ("sw", None)])
def test_a_whisper_is_told_the_language_if_it_knows_it(
    recognisers: dict[str, Path], monkeypatch: pytest.MonkeyPatch, language: str, told: str | None
) -> None:
    listener = Recogniser(recognisers["whisper"], torch.device("cpu"))
    model = listener._pipeline.model
    generate = model.generate
    asked: list[dict[str, Any]] = []

    def kept(*arguments: Any, **given: Any) -> Any:
        asked.append(given)
        return generate(*arguments, **given)

    monkeypatch.setattr(model, "generate", kept)
    listener.understood(np.zeros(24_000), 24_000, language)
    assert (asked[0].get("language"), asked[0].get("task")) == (told, told and "transcribe")


@pytest.mark.parametrize(
    ("understood", "text", "rate"),
    [
        ("Selam,  ALEM!", "selam alem", 0),
        ("selam alm", "selam alem", 0.1),
        ("", "selam", 1),
        ("aaaaaaaaaa", "bbbbb", 2),
        ("x", "…", 1),
        ("", "…", 0),
        ("ሰላም፡ለዓለም", "ሰላም ለዓለም", 0),
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
    make_spec: Make, tmp_path: Path, recognisers: dict[str, Path], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of something else, and one whose model fails with every sound."""

    def failing(*_: Any) -> str:
        raise ValueError("`model_kwargs` are not used by the model")

    monkeypatch.setattr(Recogniser, "understood", failing)
    (tmp_path / "config.json").write_text("{}")
    folder = tmp_path if how == "of no model" else recognisers["whisper"]
    spec = make_spec(2, evaluations=1, sentences=1, recogniser=str(folder))
    run_trial(spec)
    assert spoken(spec).recogniser is None and spoken(spec).sentences[0].cer is None


def test_a_recogniser_that_is_no_folder_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"speech\.recogniser is .*nowhere.*not a folder with a config\.json"):
        load(None, {"speech.recogniser": str(tmp_path / "nowhere")})
