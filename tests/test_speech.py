"""Trials that speak: with the right weights, in the right voice, and at no cost to what was measured."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import Xtts

from search.full_run import ready
from search.study.spoken import Speech
from search.training import base, corpus
from search.training.run import NoCaller, run_trial
from search.training.speech import LONGEST_VOICE, OUTPUT_RATE, chosen, voice
from search.training.tokenizer import Tokenizer
from search.trial import Evaluation, Prepared, TrialSpec
from tests import studies
from tests.conftest import make_spec_in
from tests.in_process import in_process

Make = Callable[..., TrialSpec]
Twins = tuple[list[Evaluation], list[Evaluation], TrialSpec]


def spoken(spec: TrialSpec) -> Speech:
    return Speech.from_dict(json.loads((Path(spec.directory) / "speech.json").read_text(encoding="utf-8")))


@pytest.fixture
def clips(prepared: Prepared) -> corpus.Corpus:
    return corpus.load(Path(prepared.directory) / "corpus")


# One run


@pytest.fixture(scope="module")
def twins(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """(evaluations of a run, the same of its twin that spoke and kept its best weights, the twin's spec).

    Its learning rate is so high that after some steps it gets worse: the best evaluation is not the last.
    """
    make: Make = make_spec_in(prepared, tmp_path_factory.mktemp("speech"))
    silent, speaking = (
        replace(make(4, lr=0.002, **extra), evaluation_steps=[1, 4])
        for extra in ({}, {"sentences": 2, "save_seconds": 1e9})
    )
    return run_trial(silent).evaluations, run_trial(speaking).evaluations, speaking


def test_it_is_what_the_stock_model_speaks_with_the_weights_of_the_best_evaluation(
    twins: Twins, clips: corpus.Corpus, tmp_path: Path
) -> None:
    """The exported model of the same run, loaded by coqui's own class, says the same in the same voice."""
    silent, evaluations, spec = twins
    assert [e.mel_ce for e in silent] == [e.mel_ce for e in evaluations], "speech changed what was measured"
    best = min(evaluations, key=lambda e: e.mel_ce)
    assert best.step < spec.horizon, "the last evaluation is the best, so nothing is shown"
    found = spoken(spec)
    assert found.step == best.step
    page = tmp_path / "training_report.html"
    page.write_text("")
    folder = ready.make_ready(spec, page)
    config = XttsConfig()
    config.load_json(str(folder / "config.json"))
    model = Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(folder), use_deepspeed=False)
    model.tokenizer = Tokenizer(folder / "vocab.json")
    sentence = found.sentences[0]
    model.gpt.max_gen_mel_tokens = 3 * next(c.codes for c in clips.eval if c.text == sentence.text) + 20
    torch.manual_seed(spec.seed + 1)
    reference = Path(spec.directory) / "speech" / sentence.reference
    expected = model.synthesize(sentence.text, speaker_wav=str(reference), language="am")["wav"]
    heard, rate = soundfile.read(Path(spec.directory) / "speech" / sentence.spoken)
    assert rate == OUTPUT_RATE == model.config.audio.output_sample_rate
    assert len(heard) == len(expected)
    # Within what 16 bits and a reference read back from 16 bits differ by.
    assert np.abs(heard - expected).max() < 0.02 * max(np.abs(expected).max(), 0.05)


def test_a_sentence_lies_beside_its_recording_and_its_voice(
    twins: Twins, clips: corpus.Corpus, prepared: Prepared
) -> None:
    """The similarities are computed here with the encoder alone, from the files."""
    _, _, spec = twins
    found = spoken(spec)
    assert len({s.text for s in found.sentences}) == 2
    assert len({s.speaker for s in found.sentences}) == len({s.reference for s in found.sentences}), "a file per voice"
    model = base.load_model(base.config_from_dict(prepared.coqui_config)).xtts
    model.eval()

    def embedding(wav: np.ndarray, rate: int) -> np.ndarray:
        made: np.ndarray = model.get_speaker_embedding(torch.from_numpy(wav)[None], rate).flatten().numpy()
        return made / np.linalg.norm(made)

    for sentence in found.sentences:
        clip = next(c for c in clips.eval if c.text == sentence.text)
        heard, recorded, reference = (
            soundfile.read(Path(spec.directory) / "speech" / name, dtype="float32") for name in sentence.files
        )
        assert sentence.seconds == pytest.approx(len(heard[0]) / OUTPUT_RATE)
        np.testing.assert_allclose(recorded[0], np.clip(clips.wav(clip)[0], -1, 1), atol=1 / 30_000)
        assert sentence.speaker == clip.speaker
        same = [c for c in clips.train if c.speaker == clip.speaker]
        assert any(c.samples == len(reference[0]) for c in same), "another speaker's voice"
        for value, sound in ((sentence.similarity, heard), (sentence.recorded_similarity, recorded)):
            assert value == pytest.approx(float(embedding(*sound) @ embedding(*reference)), abs=2e-3)
        assert sentence.similarity != sentence.recorded_similarity
        assert sentence.cer is None and not sentence.cut


class Unwilling(NoCaller):
    def is_wanted(self) -> bool:
        return False


@pytest.mark.parametrize(("below", "caller"), [(0.1, NoCaller()), (None, Unwilling())])
def test_a_run_above_its_mark_or_for_which_nobody_waits_is_silent(
    make_spec: Make, below: float | None, caller: NoCaller
) -> None:
    spec = make_spec(2, evaluations=1, sentences=1, speak_below=below)
    assert run_trial(spec, caller).speech is None
    assert {file.name for file in Path(spec.directory).iterdir()} & {"speech.json", "record.json"} == {"record.json"}


def test_a_replay_that_cannot_speak_says_so_in_a_line_and_nothing_else_is_printed(
    make_spec: Make,
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its evaluations are worth having without. Nothing of what coqui, and the git that it calls, say is shown."""
    settings = studies.miniature(tmp_path)
    studies.new_study(settings)
    lacking = tmp_path / "base"  # the weights alone, which do for training
    lacking.mkdir()
    args = prepared.coqui_config["model_args"]
    (lacking / "model.pth").symlink_to(args["xtts_checkpoint"])
    args = {**args, "xtts_checkpoint": str(lacking / "model.pth")}
    here = replace(prepared, coqui_config={**prepared.coqui_config, "model_args": args})
    (tmp_path / "corpus").symlink_to(Path(prepared.directory) / "corpus")
    (tmp_path / "prepared.json").write_text(here.to_json(), encoding="utf-8")
    folder = settings.directory / "trials" / "0"
    folder.mkdir(parents=True)
    spec = replace(make_spec(2, evaluations=1, sentences=1), prepared=str(tmp_path))
    (folder / "spec.json").write_text(spec.to_json())
    code, out, err = in_process(tmp_path, monkeypatch, capfd)("replay", "0")
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("study.py: trial 0 could not speak: base.path ")
    step, result = out.splitlines()
    assert step.startswith("step 2  eval ") and result == "0 of 0 recorded evaluations are the same bit for bit."


def test_a_model_that_does_not_stop_is_cut_and_says_so(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.training.speech.PATIENCE", 0)
    spec = make_spec(2, evaluations=1, sentences=1)
    run_trial(spec)
    found = spoken(spec).sentences[0]
    assert found.cut and found.seconds < 1.2  # 20 codes


def test_the_same_sentences_each_time_each_text_once(clips: corpus.Corpus) -> None:
    drawn = chosen(clips.eval, 5, 1)
    assert drawn == chosen(clips.eval, 5, 1) != chosen(clips.eval, 5, 2)
    twice = [replace(clip, text=f"text {i // 2}") for i, clip in enumerate(clips.eval)]
    assert len(chosen(twice, 99, 1)) == len(twice) // 2


def test_the_voice_is_the_longest_clip_of_the_speaker_that_is_not_too_long(clips: corpus.Corpus) -> None:
    clip, rate = clips.eval[0], 22_050
    given = {"a": ("x", 9), "b": (clip.speaker, 3), "c": (clip.speaker, 5), "d": (clip.speaker, LONGEST_VOICE + 1)}
    train = [
        replace(clip, audio_file=name, speaker=speaker, samples=int(seconds * rate))
        for name, (speaker, seconds) in given.items()
    ]
    assert voice(clip, train, rate).audio_file == "c"
    assert voice(clip, train[3:], rate).audio_file == "d"
    assert voice(clip, train[:1], rate).audio_file == "a", "any speaker, where the own one has no training clip"
