"""What a trial costs the database: SQL statements, and the time of a report with its prune decision in a large study.

    python -m benchmarks.service     # on a PostgreSQL of its own; the figures of docs/operations.md

Stock is Optuna as its documentation uses it: `RDBStorage` by URL, `ask`, `report`, `should_prune`, `tell`, the same
sampler, the same median rule. Times are compared in one run, as ratios.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from search.settings.settings import Settings
from search.study import storage
from search.study.leases import owner
from search.study.ledger import Ledger
from search.study.pruners import FirstToFire
from search.study.sampler import make_sampler
from search.trial import StopReason, evaluation_steps
from tests.postgres import Server
from tests.stub import PREPARED, settings_of

STEPS = evaluation_steps(200, 10)
FALLING = [4.0 - 0.1 * i for i in range(10)]  # never pruned: the whole trial is counted


class Statements:
    """Counts what an engine executes, as SQLAlchemy sees it: without BEGIN, COMMIT and the pool's pings."""

    def __init__(self, engine: Any) -> None:
        self.count = 0
        event.listen(engine, "before_cursor_execute", self._add)

    def _add(self, *_: Any) -> None:
        self.count += 1


def open_ours(settings: Settings) -> tuple[optuna.Study, Ledger, Statements]:
    database = storage.open_storage(settings.storage_url)
    study, ledger = storage.open_study(settings, PREPARED, database)
    return study, ledger, Statements(database.engine)


def run_ours(study: optuna.Study, ledger: Ledger, settings: Settings) -> None:
    """What a supervisor does for a trial of ten evaluations, heartbeats excluded: one renewal serves all its trials."""
    claim = ledger.claim(10**6, owner(60))
    assert claim.trial_id is not None
    trial, _ = storage.suggest(study, claim.trial_id, settings.search_space())
    values: dict[int, float] = {}
    for step, value in zip(STEPS, FALLING, strict=True):
        report_ours(study, trial, values, step, value)
    ledger.end(claim.trial_id, TrialState.COMPLETE, min(FALLING), {"stop_reason": "finished", "run": {}}, 2)


def report_ours(
    study: optuna.Study, trial: optuna.Trial, values: dict[int, float], step: int, value: float
) -> str | None:
    trial.report(value, step)
    values[step] = value
    assert isinstance(study.pruner, FirstToFire)
    frozen = create_trial(state=TrialState.RUNNING, intermediate_values=values)
    return study.pruner.fired(study, frozen) if step != STEPS[-1] else None


def run_stock(study: optuna.Study, settings: Settings) -> None:
    trial = study.ask()
    settings.search_space().suggest(trial)
    for step, value in zip(STEPS, FALLING, strict=True):
        trial.report(value, step)
        trial.should_prune()
    trial.set_user_attr("stop_reason", "finished")
    study.tell(trial, min(FALLING))


def fill(study: optuna.Study, settings: Settings, finished: int, running: int) -> list[FrozenTrial]:
    """Adds trials with ten and, where RUNNING, five evaluations; returns what was added."""
    space = settings.search_space()
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    made = []
    for number in range(finished + running):
        trial = asked.ask()
        space.suggest(trial)
        done = number < finished
        made.append(
            create_trial(
                state=TrialState.COMPLETE if done else TrialState.RUNNING,
                value=3.1 if done else None,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values={s: v + 0.01 for s, v in zip(STEPS[: 10 if done else 5], FALLING, strict=False)},
                user_attrs={"stop_reason": str(StopReason.FINISHED)} if done else {},
            )
        )
    study.add_trials(made)
    return made


def seconds(call: Callable[[], Any], repeats: int = 30) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def statements(server: Server, folder: Path) -> None:
    settings = settings_of(server.empty_database(), folder, trials=40, slots=1)
    study, ledger, counted = open_ours(settings)
    fill(study, settings, 20, 0)
    for _ in range(3):  # the baselines
        run_ours(study, ledger, settings)
    before = counted.count
    for _ in range(10):
        run_ours(study, ledger, settings)
    ours = (counted.count - before) / 10

    url = storage.parse(server.empty_database()).render_as_string(hide_password=False)
    stock = optuna.create_study(
        storage=url, sampler=make_sampler(1, 1), pruner=MedianPruner(6, STEPS[4]), direction="minimize"
    )
    fill(stock, settings, 20, 0)
    run_stock(stock, settings)
    counted = Statements(stock._storage._backend.engine)  # type: ignore[attr-defined]
    for _ in range(10):
        run_stock(stock, settings)
    print(f"SQL statements of a trial with 10 evaluations: {ours:.0f}; stock Optuna {counted.count / 10:.0f}")


def report_cost(server: Server, folder: Path) -> None:
    """One report with its prune decision, while the other slots of the study report, too."""
    found = {}
    for finished, running in ((100, 1), (5000, 32)):
        settings = settings_of(server.empty_database(), folder, trials=10**6, slots=1)
        study, ledger, _ = open_ours(settings)
        fill(study, settings, finished, running - 1)
        claim = ledger.claim(10**6, owner(60))
        assert claim.trial_id is not None
        trial, _ = storage.suggest(study, claim.trial_id, settings.search_space())
        values: dict[int, float] = {}
        for step, value in zip(STEPS[:4], FALLING, strict=False):
            report_ours(study, trial, values, step, value)
        step = STEPS[5]

        def judge(
            step: int = step, trial: optuna.Trial = trial, study: optuna.Study = study, values: Any = values
        ) -> None:
            trial._cached_frozen_trial.intermediate_values.pop(step, None)  # so that it is written each time
            report_ours(study, trial, values, step, 3.4)

        found[finished] = seconds(judge)
        print(
            f"report and decision with {finished} finished and {running} running trials: {1e3 * found[finished]:.1f} ms"
        )
    print(f"ratio: {found[5000] / found[100]:.2f}")


def main() -> None:
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            statements(server, Path(folder))
            report_cost(server, Path(folder))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
