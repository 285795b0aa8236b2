"""A study none of whose trials completed because they diverged: when its search ends, and what the likely cause is.

Both are read from the study's trials, so all machines that share it agree, and the next command knows it, too.
"""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from search.settings.settings import Settings
from search.study.findings import Findings
from search.trial import StopReason

ENOUGH = 6  # diverged trials, with none completed: another one would diverge, too


def diverged(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that diverged; none of them counts once another trial has completed."""
    if any(trial.state == TrialState.COMPLETE for trial in trials):
        return []
    return [trial for trial in trials if trial.user_attrs.get("stop_reason") == StopReason.DIVERGED]


def is_hopeless(trials: Sequence[FrozenTrial]) -> bool:
    """Whether no further trial is to start. One that runs already may still complete, and then this is over."""
    return len(diverged(trials)) >= ENOUGH


def why(findings: Findings, settings: Settings) -> str | None:
    """A line that says that nothing can be exported, why, and what to do; None unless all that ended diverged."""
    trials = [row.trial for row in findings.rows]
    if not (count := len(diverged(trials))):
        return None
    more = "no further trial is run" if is_hopeless(trials) else "more --trials may fare better"
    start = f"{count} trial{'s' * (count > 1)} diverged and none completed, so nothing is exported"
    return f"{start}; {more}; {cause(findings, settings)}"


def cause(findings: Findings, settings: Settings) -> str:
    """Why the trials diverged, most likely, and what to do about it, for the end of a line."""
    base, precision = findings.base.mel_ce, settings.training.precision
    anew = "start another study with --study NAME, since a study keeps its"
    if not math.isfinite(base):
        return f"the likely cause is the base, whose own evaluation is {base}; take another base.path, and {anew} base"
    space, trials = settings.search_space(), diverged([row.trial for row in findings.rows])
    rates = [space.from_params(trial.params).lr for trial in trials]
    low, high, usual = min(rates), max(rates), settings.coqui_recipe().hyperparameters.lr
    if low > usual:
        return (
            f"the likely cause is the range of the learning rate: the trials had {low:.3g} to {high:.3g}, the stock"
            f" recipe has {usual:g}; lower [lr] in the space, and {anew} space"
        )
    if precision != "fp32":
        return (
            f"the likely cause is training.precision, {precision!r}, since a learning rate of {low:.3g} diverged, too;"
            f" set it to 'fp32', and {anew} precision"
        )
    return (
        f"even a learning rate of {low:.3g} diverged, and the stock recipe has {usual:g}: the likely cause is the data;"
        f" listen to the clips that study.py check names, leave out what is odd, and {anew} data"
    )
