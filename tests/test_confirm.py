"""Confirmations whose runs are drawn from a known truth: who wins, what is said, what is run, and what survives."""

import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.commands import export as handover
from search.confirmation import confirm, export
from search.errors import UserError
from search.full_run import order as orders
from search.settings import best_config
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study import findings as search_findings
from search.study import storage
from search.trial import StopReason, TrialSpec
from search.workers.work import fired
from space.hyperparameters import Hyperparameters
from tests.conftest import ROOT, wait_until
from tests.machines import PATIENCE, Machine
from tests.stub_confirm import TURNING, TURNS, confirmed, keys, proven, runs_of, searched, truth
from tests.studies import FLAT, PREPARED, miniature, new_study, run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return searched(miniature(tmp_path))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study whose confirmation is over."""
    settings = searched(miniature(tmp_path_factory.mktemp("over"), {"confirm.audit": 2}))
    proven(settings)
    return settings.directory


@pytest.fixture
def over(made: Path, tmp_path: Path) -> Settings:
    """A copy of that study. To prove it again runs nothing."""
    settings = miniature(tmp_path, {"confirm.audit": 2})
    shutil.copytree(made, settings.directory, dirs_exist_ok=True)
    return settings


def test_the_winner_is_proven_by_few_full_runs_and_exported(over: Settings) -> None:
    found = proven(over)
    assert found.verdict == "better than the stock recipe" and found.winner == found.exported == "trial 1"
    assert found.over_stock and found.over_base and found.over_stock.low and found.over_base.low
    assert 0 < found.over_stock.low < found.over_stock.estimate
    # log10(1e-3 / 3e-4) * 0.3 of the learning rates' floors; both fall by the same curve
    assert found.over_stock.estimate == pytest.approx(0.157, abs=0.02)
    assert [c.name for c in found.candidates] == ["V0", "trial 1"] and found.rate_line
    assert [step.name for step in found.rate_line.steps] == ["V0", "trial 1", "trial 2", "trial 3"]
    assert (found.rate_line.seed, found.rate_line.trials, found.rate_line.finalist) == (1, [0, 1, 2, 3], "trial 1")

    trials = runs_of(over)
    assert all(t.state == TrialState.COMPLETE for t in trials)
    line = [(name, 1, "full") for name in ("V0", "trial 1", "trial 2", "trial 3")]
    race = [(name, seed, "full") for name in ("V0", "trial 1") for seed in (2, 3, 4)]
    audit = [(name, 1, length) for name in ("trial 5", "trial 6") for length in ("full", "truncated")]
    assert keys(trials) == Counter([*line, *race, *audit]), "the race was won with three seeds"
    lengths = {(t.user_attrs["length"], max(t.intermediate_values), len(t.intermediate_values)) for t in trials}
    assert lengths == {("full", 1000, 20), ("truncated", 200, 10)}
    by_name = {t.system_attrs["candidate"]["name"]: t.params for t in trials}
    assert by_name["trial 1"] == {"lr": 3e-4, "weight_decay": 0.01}
    assert by_name["trial 3"].keys() == {"lr", "weight_decay", "gamma", "clip_norm", "milestone_1", "milestone_2"}

    exported = handover.choose(over, None)
    assert (exported.confirmed, exported.status, exported.confirmation) == (True, found.text, found)
    assert exported.hyperparameters.lr == 3e-4 and exported.evidence and exported.evidence.trial == 1


@pytest.mark.parametrize(
    ("given", "verdict", "words"),
    [
        ({"lr": 1e-3}, "no better than the stock recipe", "V0 itself has the lowest mean"),
        ({"lr": 6e-4, "noise": 0.1}, "no better than the stock recipe", "may be chance"),
        ({"lr": 1e-20}, "do not fine-tune", "above the untouched base"),  # all runs end far above it
        ({"diverges": 9e-4}, "better than the stock recipe", "which diverged"),  # the stock recipe
    ],
)
def test_the_answer_is_that_of_the_truth(settings: Settings, given: dict[str, float], verdict: str, words: str) -> None:
    truth(settings, **given)
    found = proven(settings)
    assert found.verdict == verdict and words in found.text
    exported = handover.choose(settings, None)
    assert (exported.confirmed, exported.status) == (True, found.text)
    if verdict != "do not fine-tune":
        assert (exported.hyperparameters.lr == 1e-3) == (verdict == "no better than the stock recipe")
    assert (found.candidates[0].mean is None) == ("diverges" in given)


def test_more_seeds_and_a_better_trial_later_add_runs_and_repeat_none(over: Settings) -> None:
    before, made = proven(over), keys(runs_of(over))
    study = storage.load_study(over)
    run(study, {**FLAT, "lr": 2.9e-4}, [4.4, 3.9, 3.0])
    study._storage.remove_session()
    more = over.confirm.model_copy(update={"top": 1, "rates": (0.5,), "seeds": 5})
    found = proven(over.model_copy(update={"confirm": more}))
    assert before.rate_line and found.rate_line
    names = [step.name for step in found.rate_line.steps]
    assert names == ["V0", "trial 7", "trial 1", "trial 2", "trial 3", "trial 7 at 0.5 x lr"]
    assert {c.name for c in found.candidates} == {"V0", found.rate_line.finalist}
    after = keys(runs_of(over))
    assert made.items() < after.items() and set(after.values()) == {1}
    fewer = more.model_copy(update={"seeds": 3})
    assert proven(over.model_copy(update={"confirm": fewer})) == found, "fewer seeds are no reason to forget"
    assert keys(runs_of(over)) == after


def test_the_line_follows_the_turns_and_train_repeats_its_winning_run(tmp_path: Path) -> None:
    """The winner is no trial of the search: nothing but the full runs speaks for it."""
    settings = searched(miniature(tmp_path, TURNING))
    truth(settings, **TURNS)
    found = proven(settings)
    line = found.rate_line
    assert line and (line.rates, line.trials, line.finalist) == ("turn", [0, 1], "trial 1 at 0.5 x lr")
    assert [(step.name, step.turned) for step in line.steps] == [
        ("V0", True), ("V0 at 0.25 x lr", True), ("trial 1 at 0.5 x lr", False),
    ]  # fmt: skip
    assert line.sum_of_rates == line.steps[0].sum_of_rates == pytest.approx(0.15)
    assert line.steps[0].run and line.steps[0].run.stop_reason == "two_increases"
    assert [(c.name, c.scaled_from) for c in found.candidates] == [("V0", None), (line.finalist, "trial 1")]
    assert found.winner == found.exported == line.finalist
    exported = handover.choose(settings, None)
    assert (exported.confirmed, exported.status, exported.evidence) == (True, found.text, None)
    assert exported.hyperparameters == Hyperparameters(1.5e-4, 0.01) and exported.coqui_config["lr"] == 1.5e-4
    path = handover.save(exported, "json", settings, None)
    assert best_config.read(path) == exported
    won = line.steps[-1].run
    assert won and won.seed == line.seed
    ran = TrialSpec.from_json((settings.directory / "confirm" / str(won.trial) / "spec.json").read_text())
    repeats = orders.make_order(path, tmp_path / "full", None, {}).spec(ran.prepared, ran.device)
    own = ("number", "directory", "label", "save_seconds", "keeps_best", "sentences", "speak_below", "recogniser")
    assert replace(repeats, **{name: getattr(ran, name) for name in own}) == ran

    # The trial that it comes from, if asked for, is not what is recommended; a search that goes on keeps the file.
    trial = handover.choose(settings, 1)
    assert (trial.confirmed, trial.hyperparameters.lr) == (False, 3e-4)
    assert trial.status == "Not confirmed: the study's confirmation recommends trial 1 at 0.5 x lr, not trial 1."
    study = storage.load_study(settings)
    said: list[str] = []
    assert export.write_best_config(search_findings.read(study), settings, study.user_attrs, said.append) == (
        path,
        True,
    )
    assert said == ["best_config.json is kept: its confirmation covers trial 1, the best of the search"]
    assert best_config.read(path) == exported


def test_fidelity_and_audit_come_from_the_same_runs(over: Settings) -> None:
    found = proven(over)
    assert found.fidelity and found.fidelity.configs == 6  # four of the rate line, two that were audited
    assert found.audit and sorted(t.trial for t in found.audit.trials) == [5, 6]
    assert all(t.pruned_value == 4.8 and t.truncated and t.full for t in found.audit.trials)
    # Runs of the truth lie far below the losses that this search was given by hand: pruning lost what they show.
    assert found.audit.regret == pytest.approx(3.3 - min(t.truncated or 9.0 for t in found.audit.trials))
    assert found.audit.full_regret == 0
    assert found.seed_sd == pytest.approx(0.0158, rel=0.8)  # sqrt(0.015^2 + 0.005^2) of seeds and runs
    specs = [TrialSpec.from_json(file.read_text()) for file in (over.directory / "confirm").glob("*/spec.json")]
    spoken = {spec.horizon: (spec.sentences, spec.speak_below) for spec in specs}
    assert spoken == {200: (0, None), 1000: (1, None)}, "full runs speak, audited short ones do not"


def test_it_is_read_without_the_seed_that_the_search_was_given(over: Settings) -> None:
    """`status`, `report` and the dashboard have no --seed."""
    other = over.model_copy(update={"study": over.study.model_copy(update={"seed": over.study.seed + 6})})
    findings = search_findings.read(storage.load_study(over))
    assert confirm.load(over, findings) == confirm.load(other, findings) is not None


# What is refused


@pytest.mark.parametrize(
    ("training", "words", "detail"),
    [
        ({"batch_size": 8}, "'miniature' was searched with other settings", "batch_size: 4 there, 8 here"),
        ({"full_evaluations": 5}, r"miniature\.confirm.* was made with other", "full_evaluations: 20 there, 5 here"),
    ],
)
def test_other_settings_than_the_search_s_or_the_confirmation_s_are_refused(
    over: Settings, training: dict[str, int], words: str, detail: str
) -> None:
    other = over.model_copy(update={"training": over.training.model_copy(update=training)})
    with pytest.raises(UserError, match=words) as refused:
        confirmed(other)
    assert detail in refused.value.details


@pytest.mark.parametrize(("over", "expected"), [(0.9, None), (1.1, StopReason.TWO_INCREASES)])
def test_full_runs_end_by_the_gains_since_the_base(tmp_path: Path, over: float, expected: StopReason | None) -> None:
    """From the base's 5.0 to 3.0 in two evaluations: two rises must end more than half of 1.0 above."""
    settings = miniature(tmp_path)
    study = new_study(settings)
    values = dict(enumerate([4.5, 3.0, 3.1, 3.0 + over / 2]))
    assert fired(study, confirm.two_increases(settings, PREPARED), values) == expected
    off = settings.model_copy(update={"pruning": settings.pruning.model_copy(update={"two_increases": False})})
    assert isinstance(confirm.two_increases(off, PREPARED), optuna.pruners.NopPruner)


# Several machines, and ends that nobody wished for


def start(database: str, folder: Path, machine: str, seconds: float) -> Machine:
    command = ["-m", "tests.stub_confirm", database, str(folder), machine]
    return Machine(command, folder, PYTHONPATH=str(ROOT), STUB_SECONDS=str(seconds))


def test_machines_share_a_confirmation_and_deaths_cost_no_run(database: str, tmp_path: Path) -> None:
    """In the rate line one is killed, one stopped by Ctrl-C; the third ends all. Each run counts once."""
    for name in ("shared", "a", "b", "c"):
        (tmp_path / name).mkdir()
        truth(miniature(tmp_path / name), **TURNS)
    shared = searched(miniature(tmp_path / "shared", {"study.storage": database}))
    machines = [start(database, tmp_path / name, name, 0.1) for name in "ab"]
    study = storage.load_study(shared)
    wait_until(lambda: storage.exists(shared, CONFIRMATION), PATIENCE, "a confirmation")
    runs = storage.load_study(shared, CONFIRMATION)

    def is_amid_the_line() -> bool:
        states = Counter(t.state for t in runs.get_trials(deepcopy=False))
        return states[TrialState.COMPLETE] >= 2 and states[TrialState.RUNNING] > 0

    wait_until(is_amid_the_line, PATIENCE, "the second runs of the line")
    for machine in machines:
        machine.send(signal.SIGSTOP)
    assert {name for name, *_ in keys(runs.get_trials())} == {"V0"}
    machines[0].kill()
    machines[1].send(signal.SIGINT)
    machines[1].send(signal.SIGCONT)
    machines[1].wait()
    assert "stopped" in machines[1].output
    last = start(database, tmp_path / "c", "c", 0.0)
    last.wait()
    assert "Trial 1 at 0.5 x lr is better than the stock recipe" in last.output
    trials = runs.get_trials()
    line = [(name, 1, "full") for name in ("V0", "V0 at 0.25 x lr", "trial 1 at 0.5 x lr")]
    race = [(name, seed, "full") for name in ("V0", "trial 1 at 0.5 x lr") for seed in (2, 3, 4)]
    assert keys(trials) == Counter([*line, *race])
    assert all(t.state.is_finished() for t in trials)
    assert [t for t in trials if t.state == TrialState.FAIL], "nothing was cut short: the test tests nothing"
    assert len(study.trials) == 7
