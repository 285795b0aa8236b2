"""Studies to look at, of any size: written straight into the database, as a search leaves them. No run trains.

They have every kind of trial, sound and hostile texts.
"""

import io
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import soundfile
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study import artifacts, storage
from search.study import spoken as speech
from search.study.columns import columns
from search.study.recorded import by_kind
from search.study.spoken import Sentence, Speech
from search.trial import Evaluation, StopReason
from tests.reported import full_runs, plan_of
from tests.studies import PREPARED, miniature, new_study, record

# Texts and file names of a dataset may hold anything.
HOSTILE = (
    "<script>document.title='harmed'</script><img src=x onerror=\"document.title='harmed'\">"
    " [click](javascript:document.title='harmed') ![](http://203.0.113.1/pixel) </pre>`|*_ ሰላም"
)
DISTRIBUTIONS: dict[str, optuna.distributions.BaseDistribution] = {
    "lr": optuna.distributions.FloatDistribution(1e-5, 5e-3, log=True),
    "weight_decay": optuna.distributions.FloatDistribution(1e-3, 0.3, log=True),
    "n_milestones": optuna.distributions.IntDistribution(0, 2),
    "clip": optuna.distributions.CategoricalDistribution([False, True]),
    "clip_norm": optuna.distributions.FloatDistribution(0.1, 10.0, log=True),
}


HARMFUL = replace(
    PREPARED,
    dropped=[[f"wavs/{HOSTILE}.wav", "longer than 11.6 s"], ["wavs/2.wav", "no text"]],
    warnings=[f"3 clips are in both sets, the first: {HOSTILE}"],
)


def study(
    folder: Path,
    trials: int = 40,
    evaluations: int = 10,
    seed: int = 1,
    overrides: Mapping[str, Any] | None = None,
    speaks: int = 3,
) -> Settings:
    """Settings of a study of so many ended trials, of which some of the best spoke; one more is running."""
    settings = miniature(folder, dict(overrides or {}))
    made = new_study(settings, HARMFUL)
    draw = random.Random(seed)
    ended = [_trial(number, evaluations, draw) for number in range(trials)]
    full = sorted((t for t in ended if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0)
    for trial in full[:speaks]:
        found, system = spoken(settings, draw, trial.number)
        trial._system_attrs[speech.ATTRIBUTE] = found.to_dict()
        for name, value in columns(None, None, found, None).items():
            trial.set_user_attr(name, value)
        trial._system_attrs.update({key: json.dumps(meta) for key, meta in system.items()})
    made.add_trials(ended)
    running = made.ask(dict(DISTRIBUTIONS))
    running.report(4.2, 20)
    made._storage.remove_session()
    return settings


def _trial(number: int, count: int, draw: random.Random) -> FrozenTrial:
    """Drawn with every reason to stop, the first four as a search begins: three baselines and a repeat of the first."""
    lr = 10 ** draw.uniform(-5, -2.5) if number > 3 else 1e-3
    decay = 10 ** draw.uniform(-2.9, -0.6)
    floor = 2.5 + 0.35 * abs(math.log10(lr) + 3.3) + 0.05 * abs(math.log10(decay) + 2) + draw.gauss(0, 0.02)
    losses = [floor + 2 * math.exp(-6 * i / count) + draw.gauss(0, 0.01) for i in range(1, count + 1)]
    reason = StopReason.FINISHED
    if number > 3:
        kinds = [StopReason.FINISHED, StopReason.MEDIAN, StopReason.TWO_INCREASES, StopReason.DIVERGED]
        reason = draw.choices([*kinds, StopReason.PREEMPTED], [4, 8, 5, 1, 1])[0]
    if reason in (StopReason.MEDIAN, StopReason.DIVERGED, StopReason.PREEMPTED):
        losses = losses[: draw.randint(1 if reason == StopReason.DIVERGED else 4, count - 1)]
    if reason == StopReason.TWO_INCREASES:
        losses = losses[: draw.randint(4, count)]
        losses[-2:] = [losses[-3] + 0.02, losses[-3] + 0.05]
    found = [
        Evaluation(20 * i, v, 2.0 + 0.1 / i, v / (1 + 0.04 * i), 2.0, v + 0.2, lr) for i, v in enumerate(losses, 1)
    ]
    clip = draw.random() < 0.6
    params: dict[str, Any] = {"lr": lr, "weight_decay": decay, "n_milestones": 0, "clip": clip}
    if clip:
        params["clip_norm"] = 10 ** draw.uniform(-1, 1)
    measured = record(20 * len(losses), [] if clip else ["clip_norm: not set"])
    measured |= {"lr_first": lr, "lr_last": lr / 2, "lr_changes": [[100, lr / 2]], "clipped_share": 0.37 if clip else 0}
    attributes: dict[str, Any] = {
        "stop_reason": str(reason),
        "owner": {"host": "gpu-1", "pid": 4711},
        "run": {
            "evaluations": [asdict(e) for e in found],
            "record": None if reason == StopReason.PREEMPTED else measured,
            "error": "loss is nan after 61 optimizer steps" if reason == StopReason.DIVERGED else None,
        },
    }
    attributes |= columns(min(found, key=lambda e: e.mel_ce), measured, None, None)
    if number < 3:
        attributes["baseline"] = f"V{number}"
    if number in (0, 3):
        attributes["repeat"] = number // 3
    complete = reason in (StopReason.FINISHED, StopReason.TWO_INCREASES)
    state = TrialState.FAIL if reason == StopReason.PREEMPTED else TrialState.PRUNED
    made = create_trial(
        state=TrialState.COMPLETE if complete else state,
        value=min(losses) if complete else None,
        params=params,
        distributions={name: DISTRIBUTIONS[name] for name in params},
        **by_kind(attributes),
        intermediate_values={e.step: e.mel_ce for e in found},
    )
    made.number = number
    made.datetime_start = datetime(2026, 11, 20, 12) + timedelta(minutes=number)
    made.datetime_complete = made.datetime_start + timedelta(seconds=40 + 6 * len(losses))
    return made


def tone(seconds: float, hertz: float, rate: int = 24000) -> bytes:
    """A wav file."""
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def spoken(settings: Settings, draw: random.Random, number: int) -> tuple[Speech, dict[str, Any]]:
    """(what a trial spoke: tones, under a hostile text and a plain one; Optuna's attributes of its artifacts)."""
    store = artifacts.open_store(settings)
    files = {
        name: tone(seconds, hertz + number)
        for name, seconds, hertz in (
            ("1-spoken.wav", 1.2, 300), ("1-recorded.wav", 1.0, 200), ("1-reference.wav", 1.0, 250),
            ("2-spoken.wav", 0.8, 320), ("2-recorded.wav", 0.9, 220),
        )
    }  # fmt: skip
    known = {}
    for name, content in files.items():
        known[name] = artifacts.artifact_id(content)
        store.write(known[name], io.BytesIO(content))
    first, second = (
        Sentence(
            text, "s1", f"{i}-spoken.wav", f"{i}-recorded.wav", "1-reference.wav", long, cut, similar, 0.92, cer, 0.05
        )
        for i, text, long, cut, similar, cer in (
            (1, HOSTILE, 1.2, False, draw.uniform(0.6, 0.9), 0.21), (2, "ሰላም ለዓለም", 0.8, True, 0.71, 0.4),
        )
    )  # fmt: skip
    found = Speech(step=100, sentences=[first, second], recogniser="whisper-am", artifacts=known)
    return found, artifacts.described(found.labelled(), "audio/wav")


def confirmed(settings: Settings, losses: Mapping[str, Sequence[float]], over: bool = True) -> None:
    """The study of a confirmation, with full runs of these lowest evaluations by config, as `reported.keys` has them.

    One more run is asked for where it is not `over`.
    """
    name = settings.study.name + CONFIRMATION
    made = optuna.create_study(study_name=name, storage=storage.open_storage(settings.storage_url))
    attributes = storage.attributes_of(settings, PREPARED)
    attributes["fingerprint"]["confirms"] = settings.study.name
    trials = full_runs(losses)
    plan = plan_of(trials, len(losses["V0"]) + (not over))
    for key, value in {**attributes, "plan": asdict(plan)}.items():
        made.set_user_attr(key, value)
    made.add_trials(trials)
    if not over:
        made.ask()
    made._storage.remove_session()
