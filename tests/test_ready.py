"""The folder ready/: stock `Xtts` loads it and speaks."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from TTS.api import TTS
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import Xtts

from search.full_run.ready import make_ready, references
from search.full_run.result import is_ready
from search.preparation.prepare import prepare
from search.settings.settings import load
from search.training.base import trained_weights
from search.training.corpus import Clip
from search.training.run import run_trial
from search.training.tensor_file import read_tensors
from search.trial import Prepared, TrialSpec
from tests.conftest import make_spec_in


@pytest.fixture(scope="module")
def spec(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialSpec]:
    """Of a run of two steps, which has ended. Its base has the voices of XTTS-v2."""
    voices = Path(prepared.coqui_config["model_args"]["xtts_checkpoint"]).with_name("speakers_xtts.pth")
    torch.save(
        {"Ana": {"gpt_cond_latent": torch.zeros(1, 32, 128), "speaker_embedding": torch.zeros(1, 512, 1)}}, voices
    )
    make: Callable[..., TrialSpec] = make_spec_in(prepared, tmp_path_factory.mktemp("ready"))
    spec = make(2, 1, save_seconds=1e9)
    run_trial(spec)
    yield spec
    voices.unlink()


@pytest.fixture(scope="module")
def ready(spec: TrialSpec) -> Path:
    directory = Path(spec.directory)
    (directory / "training_report.html").write_text("<!doctype html>")
    (directory / ".ready.killed").mkdir()
    made = make_ready(spec, directory / "training_report.html")
    assert not list(directory.glob(".ready.*"))
    return made


def stock(folder: Path) -> Xtts:
    """As coqui's documentation loads a model."""
    config = XttsConfig()
    config.load_json(str(folder / "config.json"))
    model = Xtts.init_from_config(config)
    model.load_checkpoint(config, checkpoint_dir=str(folder), use_deepspeed=False)
    return model


def plausible(wav: np.ndarray, rate: int) -> bool:
    return bool(np.isfinite(wav).all()) and 0.2 < len(wav) / rate < 30 and float(np.abs(wav).max()) > 0


def test_stock_xtts_loads_it_and_speaks(ready: Path) -> None:
    assert is_ready(ready, small=False) and not is_ready(ready, small=True)
    before = (ready / "model.pth").read_bytes()
    model = stock(ready)
    torch.manual_seed(1)
    made = model.synthesize("Hello there.", speaker_wav=str(ready / "reference" / "1.wav"), language="en")
    assert plausible(made["wav"], model.config.audio.output_sample_rate)
    assert (ready / "model.pth").read_bytes() == before


def test_the_weights_are_the_best_states_and_otherwise_the_bases(ready: Path, prepared: Prepared) -> None:
    found = read_tensors(ready / "model.pth")
    best_file = ready.parent / "state" / "best.pth"
    assert (ready / "model.pth").samefile(best_file), "the same weights lie on the disk twice"
    trained = read_tensors(ready.parent / "state" / "last.pth")["model"]
    source = Path(prepared.coqui_config["model_args"]["xtts_checkpoint"]).parent
    base = read_tensors(source / "model.pth")["model"]
    assert found.keys() == {"model", "step", "evaluation"}
    assert found["model"].keys() == base.keys()
    for name, value in found["model"].items():
        expected = trained[name.removeprefix("gpt.")] if name.startswith("gpt.") else base[name]
        assert torch.equal(value, expected), name
    assert any(not torch.equal(v, base[f"gpt.{k}"]) for k, v in trained.items())
    assert torch.equal(found["model"]["mel_stats"], torch.load(source / "mel_stats.pth", weights_only=True))


def test_mel_statistics_are_those_of_training_and_old_copies_are_left_out(tmp_path: Path) -> None:
    """A base's `mel_stats` may be what the class fills in; a first XTTS has the GPT twice."""
    theirs = {"gpt.a": 1.0, "gpt.gpt_inference.a": 1.0, "mel_stats": 1.0, "hifigan_decoder.w": 5.0}
    torch.save({"model": {k: torch.tensor([v]) for k, v in theirs.items()}}, tmp_path / "model.pth")
    torch.save(torch.tensor([3.0]), tmp_path / "mel_stats.pth")
    made = {k: v.item() for k, v in trained_weights(tmp_path, {"a": torch.tensor([2.0])}).items()}
    assert made == {"gpt.a": 2.0, "mel_stats": 3.0, "hifigan_decoder.w": 5.0}
    with pytest.raises(AssertionError, match=r"lacks \['gpt.a'\]"):
        trained_weights(tmp_path, {"b": torch.tensor([2.0])})


def test_other_programs_find_what_they_look_for(ready: Path) -> None:
    """AllTalk's scan of models (scan_models_folder) and the API of coqui-tts; xtts-api-server loads as `stock` does."""
    required = {"config.json", "model.pth", "mel_stats.pth", "speakers_xtts.pth", "vocab.json", "dvae.pth"}
    assert required <= {path.name for path in ready.iterdir()}
    api = TTS(model_path=str(ready), config_path=str(ready / "config.json"), progress_bar=False)
    assert set(api.languages) == {"en", "am"}
    assert "Ana" in api.synthesizer.tts_model.speaker_manager.speaker_names


def test_it_is_a_base_for_a_next_fine_tune(ready: Path, cache: Path, prepared: Prepared) -> None:
    """As a search would prepare it: its evaluation is that of the run, and no letter is new."""
    evaluation = read_tensors(ready / "model.pth")["evaluation"]
    data = {"data.eval": "eval.csv", "data.language": "am", "data.min_conditioning_seconds": 0.5}
    data["data.max_conditioning_seconds"] = 1.0
    short = {"training.steps": 12, "training.truncation": 1.0, "training.evaluations": 2, "training.batch_size": 2}
    settings = load(None, {"base.path": str(ready), **data, **short})
    found = prepare(settings, cache, lambda _: None)
    assert (found.added_tokens, found.vocabulary_size) == ([], prepared.vocabulary_size)
    assert found.base_evaluation["mel_ce"] == pytest.approx(evaluation["mel_ce"], rel=1e-5)


def test_no_path_of_this_machine_is_in_it(ready: Path, cache: Path) -> None:
    for name in ("config.json", "speak.py", "vocab.json"):
        text = (ready / name).read_text(encoding="utf-8")
        assert str(cache) not in text and str(ready.parent) not in text
    config = XttsConfig()
    config.load_json(str(ready / "config.json"))
    assert config.languages == ["en", "am"]


def test_the_script_speaks_a_language_that_stock_refuses(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["ሰላም ለዓለም", "--language", "am", "--reference", "reference/1.wav", "--output", "out.wav", "--seed", "1"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["speak.py", *arguments])
    runpy.run_path(str(ready / "speak.py"), run_name="__main__")
    wav, rate = soundfile.read(tmp_path / "out.wav")
    assert plausible(wav, rate)


def test_references_are_long_clips_of_the_speakers_in_turn() -> None:
    rate = 10

    def clip(name: str, speaker: str, seconds: float) -> Clip:
        return Clip(name, "", speaker, "en", 0, 0, 0, int(seconds * rate), 0, 0)

    one = [clip("a", "x", 3), clip("b", "x", 11), clip("c", "x", 12.5)]
    two = [clip("d", "y", 20), clip("e", "y", 30)]
    assert [c.audio_file for c in references(one + two, rate)] == ["b", "e", "a"]
    assert [c.audio_file for c in references(one, rate)] == ["b", "a", "c"]
    assert [c.audio_file for c in references(two, rate)] == ["e", "d"]


def test_a_small_one_lacks_what_only_training_needs(ready: Path, spec: TrialSpec) -> None:
    """Made of the one that is there, where the state was deleted."""
    model = (ready / "model.pth").read_bytes()
    (ready.parent / "state" / "best.pth").unlink()
    for small in (True, False):
        make_ready(spec, ready.parent / "training_report.html", small)
        assert is_ready(ready, small) and not is_ready(ready, not small)
        assert (ready / "model.pth").read_bytes() == model and (ready / "speakers_xtts.pth").exists()
