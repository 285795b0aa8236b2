"""Studies with thousands of finished trials, written straight into a PostgreSQL.

Through Optuna's interface ten thousand trials would take minutes; the rows are the same (tests/test_scale.py).
"""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from search.trial import StopReason
from space.search_space import SearchSpace
from tests import stub

PRUNED_AT = 5  # evaluations, of every other trial: the median rule ends about half of them, from here on
RECORD = {  # what a run says of its knobs, in its usual size
    "steps": 200,
    "micro_steps": 400,
    "lr_first": 0.001,
    "lr_last": 0.00025,
    "lr_changes": [[67.0, 0.0005], [133.0, 0.00025]],
    "clipped_share": 0.125,
    "grad_norm_before": 1.2345678901234567,
    "grad_norm_after": 0.9876543210987654,
    "cumulative_decay": 0.0012345678901234,
    "trainable_parameters": 1_234_567,
    "decayed_parameters": 1_200_000,
    "inert": [],
    "setup_seconds": 0.0,
    "train_seconds": 90.0,
    "evaluation_seconds": 10.0,
}


class Draw:
    """In place of an `optuna.Trial`: draws each parameter at random, and remembers it with its distribution."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.params: dict[str, tuple[Any, BaseDistribution]] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = low * (high / low) ** self._draw.random() if log else self._draw.uniform(low, high)
        self.params[name] = value, FloatDistribution(low, high, log=log)
        return value

    def suggest_int(self, name: str, low: int, high: int) -> int:
        value = self._draw.randint(low, high)
        self.params[name] = value, IntDistribution(low, high)
        return value

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        value = self._draw.choice(choices)
        self.params[name] = value, CategoricalDistribution(choices)
        return value


def evaluation(step: int, value: float, seconds: float) -> dict[str, Any]:
    """What a run says at `step`, as a supervisor keeps it."""
    losses = {"mel_ce": value, "text_ce": 2.0, "probe_mel_ce": value / 1.1, "probe_text_ce": 2.0}
    return {"step": step, **losses, "train_loss": value, "lr": 0.001, "seconds": seconds}


def fill(url: str, study_id: int, space: SearchSpace, steps: Sequence[int], trials: int) -> None:
    """Adds finished `trials` to a study without any, and takes what a new study has queued: a search begins to sample.

    Args:
        url: `postgresql://` of the database.
        steps: Of the evaluations of a trial.
    """
    tables: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
        "trials": ("trial_id, number, study_id, state, datetime_start, datetime_complete", []),
        "trial_values": ("trial_id, objective, value, value_type", []),
        "trial_params": ("trial_id, param_name, param_value, distribution_json", []),
        "trial_intermediate_values": ("trial_id, step, intermediate_value, intermediate_value_type", []),
        "trial_user_attributes": ("trial_id, key, value_json", []),
        "trial_system_attributes": ("trial_id, key, value_json", []),
        "trial_heartbeats": ("trial_id, heartbeat", []),
    }
    rows = {name: found for name, (_, found) in tables.items()}
    now = datetime.now(UTC).replace(tzinfo=None)
    draw = random.Random(trials)
    for number in range(trials):
        trial_id = number + 1
        point = Draw(draw)
        lr = space.suggest(point).lr
        done = steps if number % 2 else steps[:PRUNED_AT]
        values = stub.values(number, lr, len(steps))[: len(done)]
        whole = len(done) == len(steps)
        rows["trials"].append((trial_id, number, study_id, "COMPLETE" if whole else "PRUNED", now, now))
        rows["trial_values"].append((trial_id, 0, min(values) if whole else values[-1], "FINITE"))
        for name, (value, distribution) in point.params.items():
            stored = distribution.to_internal_repr(value), distribution_to_json(distribution)
            rows["trial_params"].append((trial_id, name, *stored))
        rows["trial_intermediate_values"] += [(trial_id, *pair, "FINITE") for pair in zip(done, values, strict=True)]
        measured = [evaluation(*pair, 10.0 * i) for i, pair in enumerate(zip(done, values, strict=True), 1)]
        reason = StopReason.FINISHED if whole else StopReason.MEDIAN
        owner = {"host": "node", "machine": "x" * 50, "pid": 1, "started": 1, "grace_seconds": 60.0, "claim": "x" * 32}
        run = {"evaluations": measured, "record": RECORD, "error": None}
        rows["trial_user_attributes"].append((trial_id, "stop_reason", json.dumps(str(reason))))
        for key, kept in {"owner": owner, "run": run}.items():
            rows["trial_system_attributes"].append((trial_id, key, json.dumps(kept)))
        sampled = {name: value for name, (value, _) in point.params.items()}
        rows["trial_system_attributes"].append((trial_id, "tpe:relative_params:0", json.dumps(json.dumps(sampled))))
        rows["trial_heartbeats"].append((trial_id, now))
    with psycopg.connect(url) as connection:
        for name in reversed(tables):
            connection.execute(f"DELETE FROM {name}".encode())
        for name, (columns, found) in tables.items():
            with connection.cursor().copy(f"COPY {name} ({columns}) FROM STDIN".encode()) as copy:
                for row in found:
                    copy.write_row(row)
        connection.execute("SELECT setval('trials_trial_id_seq', %s)", (trials,))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
