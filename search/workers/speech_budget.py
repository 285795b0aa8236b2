"""How many sentences a trial may speak, so that speech takes only a small share of a machine's time."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.study import recorded
from search.study.spoken import ATTRIBUTE


@dataclass(frozen=True)
class Spent:
    """What the trials of one machine have spent so far."""

    work: float = 0.0  # seconds of set-up, training and evaluation
    speech: float = 0.0  # seconds
    sentences: int = 0  # spoken in those seconds


class SpeechBudget:
    """Grants sentences to trials as they start on this machine.

    It counts the study's trials that ended here, so a search that resumes goes on with the same budget.
    """

    def __init__(self, share: float, machine: str) -> None:
        """`share` is that of the trials' time, from 0 (never speak) to 1 (always speak)."""
        self._share, self._machine = share, machine
        self._granted: dict[int, int] = {}  # sentences, by trial

    def grant(self, wanted: int, number: int, trials: Sequence[FrozenTrial]) -> int:
        """How many of `wanted` sentences trial `number` may speak; `trials` are all of the study's."""
        running = [t.number for t in trials if t.state == TrialState.RUNNING]
        under_way = sum(self._granted.get(other, 0) for other in running if other != number)
        self._granted[number] = affordable(wanted, self._share, spent(trials, self._machine), under_way)
        return self._granted[number]


def affordable(wanted: int, share: float, so_far: Spent, under_way: int) -> int:
    """How many of `wanted` sentences fit in the budget, which has to pay for those `under_way`, too.

    Until a sentence has been spoken its cost is unknown: one trial at a time speaks one sentence, to measure it.
    """
    if share in (0, 1):
        return wanted if share else 0
    if not so_far.speech or not so_far.sentences:
        return 0 if under_way else min(wanted, 1)
    cost = so_far.speech / so_far.sentences
    left = share * (so_far.work + so_far.speech) - so_far.speech
    return max(0, min(wanted, int(left / cost) - under_way))


def spent(trials: Sequence[FrozenTrial], machine: str) -> Spent:
    """What those of `trials` that ended on `machine` have spent."""
    work = speech = 0.0
    sentences = 0
    for trial in trials:
        if not trial.state.is_finished() or recorded.part(trial.system_attrs.get("owner"), "machine") != machine:
            continue
        if record := recorded.record(recorded.part(trial.system_attrs.get("run"), "record")):
            work += record["setup_seconds"] + record["train_seconds"] + record["evaluation_seconds"]
        if spoken := recorded.speech(trial.system_attrs.get(ATTRIBUTE)):
            speech += spoken.took
            sentences += len(spoken.sentences)
    return Spent(work, speech, sentences)
