"""The answer by the confirmation: what its full runs prove, and what they leave open."""

import math
import shlex

from scipy.special import stdtr, stdtrit

from search.confirmation import export
from search.confirmation.candidates import same
from search.confirmation.race import FALSE_WINS, Fit
from search.pages.answer import Answer, Compared, by, command, described
from search.pages.material import Material
from search.pages.searched import ANEW
from search.settings.best_config import Candidate, Confirmation, Difference
from search.settings.sections import MOST_SEEDS
from search.text import shown
from space.hyperparameters import Hyperparameters

MORE_SEEDS = 2
CLOSE = 4  # configs that are named


def answer(material: Material, found: Confirmation, options: str) -> Answer:
    """Of a confirmation that is over."""
    assert material.runs is not None
    fit = material.runs.race().fit
    exported = export.recommended(found)
    compared = _compared(material, found, fit)
    told = _told(material, found, fit) if compared else [found.text]
    seeds = max(len(candidate.runs) for candidate in found.candidates)
    ran = f"{len(found.candidates)} configs, up to {seeds} seeds each, {material.full_horizon:,} optimizer steps"
    winner = _winner(found)
    of = f"{winner.name}, mean {winner.mean or math.inf:.4f} of {len(winner.runs)} full runs"
    if found.verdict == "do not fine-tune":
        return Answer(
            "error",
            "Do not fine-tune: no config is proven better than the untouched base model.",
            f"By full runs: {ran}.",
            told,
            None,
            of,
            compared,
            [
                *_again(material, found, options),
                ("", f"Use the base as it is; or look into the data (study.py check), and {ANEW}."),
            ],
        )
    if found.verdict == "better than the stock recipe":
        level, headline, sure = "proven", f"Use {found.winner}: it is better than the stock recipe.", "Proven"
    else:
        level, sure = "warning", "Not proven better"
        headline = f"Use the stock recipe ({found.exported}): no config is proven better than it."
    config = described(material, found.exported, _point(exported))
    steps = [*_again(material, found, options), *_train(material, found, options), *_further(material, found, options)]
    return Answer(level, headline, f"{sure} by full runs: {ran}.", told, config, of, compared, steps)


def _compared(material: Material, found: Confirmation, fit: Fit) -> list[Compared]:
    """The winner with the stock recipe, unless it is that, and with the base."""
    level = f"{100 * found.level:.0f} %"
    stock = material.settings.stock_recipe().name
    mean = fit.means.get(stock, math.inf)
    compared = []
    if found.over_stock:
        sure = _sure(found.over_stock, level, p_value(fit, found.over_stock))
        compared.append(Compared(f"the stock recipe ({stock}), {mean:.4f}", by(found.over_stock.estimate), sure))
    elif found.winner != stock and math.isinf(mean):
        compared.append(Compared(f"the stock recipe ({stock})", "diverged", "it diverged in a full run"))
    if found.over_base:
        sure = _sure(found.over_base, level, None)
        compared.append(Compared(f"the untouched base, {found.base:.4f}", by(found.over_base.estimate), sure))
    return compared


def _told(material: Material, found: Confirmation, fit: Fit) -> list[str]:
    """Where the winner comes from, and whom it is not told from."""
    told = []
    stock = material.settings.stock_recipe().name
    if found.winner == stock:
        told.append("The stock recipe itself has the lowest mean.")
    source = _source(found)
    if source is not None:
        told.append(
            f"{_capital(found.winner)}: its config with {_ratio(found, source):.3g} times the learning rate that the"
            f" search found, {source.hyperparameters.lr:.3g}. Short runs favour rates that are too high for a full run."
        )
    close = [
        f"{name} ({difference.value:.4f} above)"
        for name, mean in sorted(fit.means.items(), key=lambda item: item[1])
        if name != found.winner and math.isfinite(mean)
        and not (difference := fit.difference(name, found.winner)).is_above_zero
    ]  # fmt: skip
    if close:
        more = f" and {len(close) - CLOSE} more" if len(close) > CLOSE else ""
        told.append(f"Not told from {found.winner} by these runs: {', '.join(close[:CLOSE])}{more}.")
    late = _late(material, found)
    if late is not None:
        told.append(f"Trial {late}, now the best of the search, has not run in full.")
    return told


def _again(material: Material, found: Confirmation, options: str) -> list[tuple[str, str]]:
    """The confirmation once more, for a trial that became the best after it."""
    late = _late(material, found)
    return [] if late is None else [(command("confirm", options), f"runs trial {late} in full, too")]


def _train(material: Material, found: Confirmation, options: str) -> list[tuple[str, str]]:
    path = material.settings.directory / "best_config.json"
    name = shown(path.absolute())
    is_there = export.confirmation_at(path, found.study.removesuffix(".confirm")) == found
    steps = [] if is_there else [(command("export", options), f"writes {name}")]
    return [*steps, (f"python study.py train {shlex.quote(name)} --output full", "trains it in full")]


def _further(material: Material, found: Confirmation, options: str) -> list[tuple[str, str]]:
    """What might find more: seeds where chance may have hidden a gain, rates below the lowest where that won."""
    assert material.runs is not None
    if found.verdict == "no better than the stock recipe" and found.over_stock:
        count = min(MOST_SEEDS, len(material.runs.seeds) + MORE_SEEDS)
        if count == len(material.runs.seeds):
            return []
        return [(command(f"confirm --seeds {count}", options), f"may tell {found.winner} from the stock recipe")]
    source = _source(found)
    if source is None or material.best is None or source.trial != material.best.trial.number:
        return []
    rates = sorted((c for c in found.candidates if _is_scaled(c, source)), key=lambda c: c.hyperparameters.lr)
    lowest, above = [*rates, source][:2]
    if lowest.name != found.winner:
        return []
    if not material.runs.race().fit.difference(above.name, lowest.name).is_above_zero:
        return []
    ratio = _ratio(found, source)
    lower = f"--set 'confirm.lower_rates=[{ratio / 2:.3g}, {ratio / 4:.3g}]'"
    return [(command(f"confirm {lower}", options), "tries lower rates still: the lowest of the race is clearly best")]


def _source(found: Confirmation) -> Candidate | None:
    """The trial that wins at a lower rate than its own; None where the winner is as it was searched."""
    winner = _winner(found)
    if winner.trial is not None:
        return None
    return next((c for c in found.candidates if c.trial is not None and _is_scaled(winner, c)), None)


def _winner(found: Confirmation) -> Candidate:
    return next(candidate for candidate in found.candidates if candidate.name == found.winner)


def _ratio(found: Confirmation, source: Candidate) -> float:
    return _winner(found).hyperparameters.lr / source.hyperparameters.lr


def _is_scaled(config: Candidate, source: Candidate) -> bool:
    """Whether `config` is `source` at a lower learning rate."""
    knobs = source.hyperparameters.model_copy(update={"lr": config.hyperparameters.lr})
    is_lower = config.hyperparameters.lr < source.hyperparameters.lr
    return is_lower and same(_point(config), Hyperparameters.from_dict(knobs.model_dump()))


def _late(material: Material, found: Confirmation) -> int | None:
    """The best trial, where the confirmation lacks it."""
    if material.best is None:
        return None
    best = material.best.trial
    ran = {candidate.trial for candidate in found.candidates}
    point = material.space.from_params(best.params)
    return None if best.number in ran or any(same(point, _point(c)) for c in found.candidates) else best.number


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _point(config: Candidate) -> Hyperparameters:
    return Hyperparameters.from_dict(config.hyperparameters.model_dump())


def p_value(fit: Fit, found: Difference) -> float | None:
    """Of the difference, one-sided and corrected as its interval is: at most 0.05 exactly where that excludes 0."""
    if found.low is None or fit.freedom <= 0:
        return None
    others = max(1, sum(map(math.isfinite, fit.means.values())) - 1)
    tests = others * 2 * FALSE_WINS / (1 - fit.level)
    reach = found.estimate - found.low
    if reach <= 0:
        return 0.0
    t = found.estimate / reach * float(stdtrit(fit.freedom, 1 - FALSE_WINS / tests))
    return min(1.0, float(stdtr(fit.freedom, -t)) * tests)


def _sure(found: Difference, level: str, p: float | None) -> str:
    if found.low is None or found.high is None:
        return "no interval: too few runs"
    said = f"{level} interval {found.low:.4f} to {found.high:.4f}"
    if p is None:
        return said
    return said + (", p below 0.0001" if p < 1e-4 else f", p {p:.2g}")
