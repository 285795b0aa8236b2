"""The searched dimensions, as the trials have them, and which of them part the best trials from the rest.

PED-ANOVA (Watanabe et al. 2023; for conditional dimensions Kawai et al. 2026) compares where the best trials lie in a
dimension with where all of them lie. It asks only which trials are among the best, so that pruned trials, which have no
final value, count as what they are: not among the best. fANOVA would need their values, sees the survivors alone, and
leaves out every dimension that exists in some trials only, which here are most of them.
"""

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.pages.chart import Axis
from search.pages.material import completed
from search.study.findings import Row

FEWEST_JUDGED, FEWEST_COMPLETED = 12, 6
SHUFFLES = 40
MOST = 400  # trials from which the importances are computed: more change no bar visibly
_BEST = 10  # trials make up the best where a tenth is less, yet at most a quarter; the authors advise 5 or more
# (name for people, unit or meaning of its value); both together have room below a small figure
NAMES = {
    "lr": ("learning rate", "of AdamW"),
    "weight_decay": ("weight decay", "of AdamW"),
    "n_milestones": ("milestones", "number"),
    "milestone_1": ("first milestone", "share of the run"),
    "milestone_2_of_rest": ("second milestone", "share of the rest"),
    "milestone_3_of_rest": ("third milestone", "share of the rest"),
    "gamma": ("gamma", "factor at a milestone"),
    "clip": ("gradient clip", "on or off"),
    "clip_norm": ("clip norm", "bound of the L2 norm"),
    "new_rows_lr_factor": ("rate of new rows", "factor on the rate"),
    "frozen_layers": ("frozen layers", "number"),
}


@dataclass(frozen=True)
class Dimension:
    """A searched dimension, as the trials have it. The places of a categorical one on an axis are 0, 1, …"""

    name: str
    values: Any  # an Optuna distribution

    @property
    def title(self) -> str:
        return NAMES.get(self.name, (self.name, ""))[0]

    @property
    def axis(self) -> Axis:
        """With the name and the unit, and a little more than the range."""
        label, values = ", ".join(filter(None, NAMES.get(self.name, (self.name, "")))), self.values
        if isinstance(values, CategoricalDistribution):
            names = [
                {True: "on", False: "off"}.get(c, str(c)) if isinstance(c, bool) else str(c) for c in values.choices
            ]
            return Axis(label, (-0.5, len(names) - 0.5), ticks=list(enumerate(names)))
        low, high = values.low, values.high
        if values.log:
            edge = (high / low) ** 0.03
            return Axis(label, (low / edge, high * edge), log=True)
        if isinstance(values, IntDistribution) and high - low <= 8:
            return Axis(label, (low - 0.5, high + 0.5), ticks=[(i, str(i)) for i in range(low, high + 1)])
        edge = 0.03 * (high - low)
        return Axis(label, (low - edge, high + edge))

    def place(self, row: Row) -> float:
        """Of a trial's value on the axis."""
        return float(self.values.to_internal_repr(row.trial.params[self.name]))


def dimensions(rows: Sequence[Row]) -> list[Dimension]:
    """Those that can differ between trials, in the order of the space; some have a value in some trials only."""
    found = {name: d for row in rows for name, d in row.trial.distributions.items() if not d.single()}
    order = list(NAMES)
    names = sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))
    return [Dimension(name, found[name]) for name in names]


def holding(dimension: Dimension, rows: Sequence[Row]) -> list[Row]:
    """The trials that have a value there."""
    return [row for row in rows if dimension.name in row.trial.params]


@dataclass(frozen=True)
class Importance:
    """Of the dimensions, the most important first; shares of their sum."""

    shares: dict[str, float]
    chance: dict[str, float]  # what 95 of 100 shuffled studies stay below, on the same scale
    best: int  # trials that count as the best
    judged: int  # trials that were looked at

    @property
    def told(self) -> list[str]:
        """The dimensions whose share is more than chance gives."""
        return [name for name, share in self.shares.items() if share > self.chance[name]]


def importance(rows: Sequence[Row], names: Sequence[str]) -> Importance | None:
    """Of the dimensions `names`; None with too few trials to say anything."""
    done = sorted((row for row in rows if completed(row)), key=lambda row: row.trial.value or 0.0)
    if len(rows) < FEWEST_JUDGED or len(done) < FEWEST_COMPLETED or not names:
        return None
    rest = [row for row in rows if not completed(row)]
    if len(rows) > MOST:  # the same shares of both
        done, rest = done[:: -(-len(rows) // MOST)], rest[:: -(-len(rows) // MOST)]
    ordered = [*done, *rest]  # by rank: the pruned come last
    best = min(max(round(0.1 * len(ordered)), min(_BEST, len(ordered) // 4)), len(done) - 1)
    known = [name for name in names if any(name in row.trial.params for row in ordered)]
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), study_name="ranks")
    for row in ordered:
        params, distributions = row.trial.params, row.trial.distributions
        study.add_trial(create_trial(value=0.0, params=params, distributions=distributions, state=TrialState.COMPLETE))
    ranks = list(range(len(ordered)))
    found = _evaluate(study, known, ranks, best)
    total = sum(found.values()) or 1.0
    draw = random.Random(1)
    shuffled = []
    for _ in range(SHUFFLES):
        draw.shuffle(ranks)
        shuffled.append(_evaluate(study, known, ranks, best))
    chance = {n: sorted(each[n] for each in shuffled)[round(0.95 * SHUFFLES) - 1] / total for n in known}
    return Importance({n: value / total for n, value in found.items()}, chance, best, len(ordered))


def _evaluate(study: optuna.Study, names: list[str], ranks: Sequence[int], best: int) -> dict[str, float]:
    """The importances where the trials of `study` have these `ranks`, of which those below `best` are the best."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # a second: scikit-learn

    evaluator = PedAnovaImportanceEvaluator(target_quantile=best / len(ranks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that low targets are the best: so they are
        return get_param_importances(
            study,
            evaluator=evaluator,
            params=names,
            target=lambda trial: float(ranks[trial.number]),
            normalize=False,
        )
