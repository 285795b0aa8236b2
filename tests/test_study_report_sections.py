"""What each section of a study's report makes of the trials."""

import base64
import math
import re
from html import unescape
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.pages import sound as sound_of_page
from search.pages.dimensions import importance
from search.pages.material import Material, read
from search.pages.sound import sound
from search.settings.settings import Settings
from search.study import artifacts, spoken
from search.study.findings import Row
from search.study.spoken import Sentence, Speech
from search.trial import StopReason
from tests import shown
from tests.reported import LOWER, founded, full_runs, material_of, searched, written
from tests.studies import FLAT, evaluations, miniature, run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture
def study(settings: Settings) -> optuna.Study:
    """In memory."""
    return founded(settings)


def section(made: Material, name: str) -> str:
    """The text of a section of the page; empty where there is none."""
    found = re.search(rf'<section id="{name}".*?</section>', written(made), re.DOTALL)
    return " ".join(unescape(re.sub("<[^>]*>", " ", found[0])).split()) if found else ""


# Importance and dimensions


def rows_of(study: optuna.Study) -> list[Row]:
    return [Row(trial, evaluations([trial.value or 9.0]), None) for trial in study.get_trials(deepcopy=False)]


def objective(trial: optuna.Trial, weight: float) -> float:
    lr = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
    decay = trial.suggest_float("weight_decay", 0.0, 1.0)
    layers = trial.suggest_int("frozen_layers", 0, 20)
    norm = trial.suggest_float("clip_norm", 0.1, 10) if trial.suggest_categorical("clip", [False, True]) else 0.0
    if trial.number % 3 == 2:
        raise optuna.TrialPruned
    return weight * abs(math.log10(lr) + 4) + (1 - weight) * math.sin(1e4 * (decay + norm + layers))


NAMES = ["lr", "weight_decay", "frozen_layers", "clip", "clip_norm"]


def random_study(weight: float, trials: int = 60) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    study.optimize(lambda trial: objective(trial, weight), trials)
    return study


@pytest.mark.parametrize(("weight", "told"), [(0.99, ["lr"]), (0.0, [])])
def test_importance_is_told_from_chance(weight: float, told: list[str]) -> None:
    """Over log, linear, whole, categorical and conditional dimensions; a third of the trials was pruned."""
    found = importance(rows_of(random_study(weight)), NAMES)
    assert found is not None and found.told == told and (found.best, found.judged) == (10, 60)
    assert math.isclose(sum(found.shares.values()), 1) and set(found.shares) == set(NAMES)


# Figures of the search


# Sections


def test_what_is_not_finite_or_cannot_be_read_is_said_and_hurts_nothing(
    settings: Settings, study: optuna.Study
) -> None:
    run(study, FLAT, [math.nan], StopReason.DIVERGED)
    run(study, FLAT, [4.0, math.nan], StopReason.DIVERGED)
    run(study, FLAT, [4.0, 3.9])
    text = written(material_of(settings, study))
    assert "1 finished without a finite evaluation" in text and not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert "cannot read" not in text
    study.add_trial(create_trial(state=TrialState.PRUNED, system_attrs={"run": {"evaluations": [{"loss": 3.0}]}}))
    assert "This release cannot read a part of 1 of them." in written(material_of(settings, study))


# Sections of the confirmation


# Sound


def test_sound_is_in_the_page_byte_for_byte(tmp_path: Path) -> None:
    settings = shown.study(tmp_path, trials=8)
    made = read(settings)
    text = written(made)
    uris = re.findall(r'src="data:audio/wav;base64,([^"]*)"', text)
    kept = {path.read_bytes() for path in (settings.directory / "artifacts").iterdir() if path.is_file()}
    assert {base64.b64decode(uri) for uri in uris} == kept and len(kept) == 15
    assert "(did not stop by itself)" in text and ">1 of 2<" in text and ">0.92<" in text and ">0.05<" in text
    assert "CER is the character error rate of whisper-am" in text
    best = made.best
    assert best is not None and best.speech is not None
    name = best.speech.artifacts["1-spoken.wav"]
    artifacts.open_store(settings, make=False).remove(name)

    def silent() -> list[str]:
        return [clip.why for each in sound(made).heard for clip in each.clips if clip.uri is None]

    assert silent() == ["1-spoken.wav: not in the artifact store that this machine reads"]
    (settings.directory / "artifacts" / name).mkdir()
    assert silent() == ["1-spoken.wav: not read from the artifact store: Is a directory"], "and it is not called gone"


def speech(settings: Settings, similarity: float = 0.5) -> dict[str, Any]:
    store = artifacts.open_store(settings)
    for name in ("r.wav", "f.wav", "s.wav"):
        (settings.directory / name).write_bytes(shown.tone(0.1, 200 + ord(name[0])))
    known = artifacts.upload(store, [settings.directory / name for name in ("r.wav", "f.wav", "s.wav")])
    sentence = Sentence("ሰላም", "s1", "s.wav", "r.wav", "f.wav", 0.1, False, similarity, 0.9)
    return Speech(60, [sentence], None, known).to_dict()


def heard(made: Material) -> list[str]:
    """Who is heard, of the one sentence, which has its recording and its reference once."""
    (found,) = sound(made).heard
    recorded, reference, *spoken_by = [clip.label for clip in found.clips]
    assert (recorded, reference) == ("recorded, s1", "reference of the voice")
    return [label.partition(",")[0] for label in spoken_by]


def test_three_configs_and_the_stock_recipe_are_heard(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    others = {f"x{i}": [2.58 + i / 100] for i in range(3)}
    configs = {**LOWER, **others, "audited": [2.9], "audited in full": [2.5]}
    runs = full_runs(configs, spoke=speech(settings))
    runs[0]._system_attrs[spoken.ATTRIBUTE] = speech(settings, 0.8)
    made = material_of(settings, study, runs)
    assert heard(made) == ["trial 1 at 0.25 x lr", "V0", "trial 1"], "those of the race, and one of the rate line"
    quality = {each.who: each.mean("similarity") for each in sound(made).quality}
    assert len(quality) == 7, "an audited trial is no candidate: nobody needs to hear it"
    assert (quality["trial 1, 1 full run"], quality["V0, 4 full runs"]) == (0.5, pytest.approx(0.575))
    assert "CER" not in section(made, "sound") and "no recogniser listened" in section(made, "sound")


def test_the_best_three_trials_are_heard_and_a_page_holds_each_file_once(
    settings: Settings, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        run(study, FLAT, [4.0 - i / 10], attributes={spoken.ATTRIBUTE: speech(settings)})
    made = material_of(settings, study)
    assert heard(made) == ["trial 3", "trial 2", "trial 1"] and len(sound(made).quality) == 4
    size = len(shown.tone(0.1, 200))
    for room, missing in ((3 * size, 0), (3 * size - 1, 3)):  # the three trials spoke the same file
        monkeypatch.setattr(sound_of_page, "LARGEST", room)
        gone = [clip for clip in sound(made).heard[0].clips if clip.uri is None]
        assert len(gone) == missing and all("left out: the page has" in clip.why for clip in gone)


def test_a_page_holds_no_password(tmp_path: Path) -> None:
    settings = shown.study(tmp_path, trials=5, speaks=1)
    made = read(settings)
    odd = {"storage": "postgresql://me:hush@host/db", "artifacts": "s3://bucket/with/a/path?key=hush"}
    study = settings.study.model_copy(update=odd)
    secret = Material(settings.model_copy(update={"study": study}), made.attributes, made.findings, None, None)
    found = sound(secret)
    assert found.problem and found.problem.startswith("study.artifacts is") and found.heard == []
    text = written(secret)
    assert "hush" not in text and "postgresql://me:***@host/db" in text and "The sound cannot be read" in text
