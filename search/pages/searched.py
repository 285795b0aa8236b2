"""The answer by the search alone: the best trial so far, one run with one seed, of a part of a full run's steps."""

import math
from collections.abc import Mapping
from typing import Any

from search.pages.answer import Answer, Compared, Config, by, command, described
from search.pages.material import Material, completed, lowest
from search.show import tables
from search.show.tables import why_cut_short
from search.study.findings import Row
from search.text import shown
from search.trial import StopReason

ANEW = "search anew under another --study: a study keeps its space, its data and the length of its trials"


def answer(material: Material, options: str) -> Answer:
    best = material.best
    if best is None or best.trial.value is None:
        return _nothing(material, options)
    findings = material.findings
    told = tables.doubts(findings, best, material.space)
    if material.runs is not None:
        told.append("A confirmation was started and is not over.")
    name = f"trial {best.trial.number}" + (f" ({best.baseline})" if best.baseline else "")
    sure = (
        f"Not proven: one run with one seed, of {findings.horizon:,} of the {material.full_horizon:,} optimizer steps"
        " of a full run."
    )
    compared = [_to_base(material, best.trial.value), *_to_stock(material, best)]
    of = f"{name}, {best.trial.value:.4f}"
    if best.trial.value >= findings.base.mel_ce:
        return Answer(
            "error",
            "Do not fine-tune with any config of this study: none beats the untouched base model.",
            sure,
            told,
            of=of,
            compared=compared,
            next=[
                ("", "Use the base as it is; or look into the data (study.py check), widen the space, or lengthen the"
                 f" trials (training.epochs, training.truncation), and {ANEW}."),
                (command(f"--trials {findings.finished + 20}", options), "searches on with 20 trials more"),
            ],
        )  # fmt: skip
    headline = f"The best config so far is {name}: {best.trial.value:.4f} nats per audio token."
    if material.stock is best:
        headline += " It is the stock recipe itself."
    config = _config(material, name, best.trial.params)
    return Answer("warning", headline, sure, told, config, of, compared, _next(material, options))


def _next(material: Material, options: str) -> list[tuple[str, str]]:
    if material.runs is not None:
        return [(command("confirm", options), "continues the confirmation")]
    found = [(command("confirm", options), "proves it: full runs, several seeds")]
    total = material.settings.study.trials
    if material.findings.finished < total:
        found.insert(0, (command("", options), f"goes on with the search, to {total:,} finished trials"))
    return found


def _to_base(material: Material, value: float) -> Compared:
    base = material.findings.base.mel_ce
    return Compared(f"the untouched base, {base:.4f}", by(base - value), "one run, no interval")


def _to_stock(material: Material, best: Row) -> list[Compared]:
    """Nothing where the stock recipe has no evaluation, or is the best itself."""
    stock = material.stock
    value = lowest(stock) if stock else None
    if stock is None or value is None or stock is best:
        return []
    ended = "" if completed(stock.trial) else f"; that was stopped ({stock.reason})"
    gain = value - (best.trial.value or math.inf)
    return [Compared(f"the stock recipe (V0), {value:.4f}", by(gain), f"one run each, no interval{ended}")]


def _config(material: Material, name: str, params: Mapping[str, Any]) -> Config | None:
    """None where the space given cannot read the trial's parameters."""
    try:
        return described(material, name, material.space.from_params(params))
    except (KeyError, ValueError):
        return None


def _nothing(material: Material, options: str) -> Answer:
    """No trial has completed: why, where that can be seen."""
    findings = material.findings
    told, steps = [_standing(material)], [(command("", options), "starts the search, or continues it")]
    diverged = sum(row.reason == StopReason.DIVERGED for row in findings.judged)
    if diverged and diverged == findings.finished:
        told.append("All of them diverged: the learning rates are too high for this base and data, or a clip is odd.")
        steps = [("", f"Look into the data (study.py check), lower the learning rates of the space, and {ANEW}.")]
    told += _cut_short(material)
    return Answer(
        "warning",
        "There is no answer yet: no trial has completed.",
        "Nothing can be said about a config before one has.",
        told,
        next=steps,
    )


def _standing(material: Material) -> str:
    finished, running = material.findings.finished, f"{material.running} running."
    if not finished:
        return f"No trial has finished; {running}"
    if finished == 1:
        return f"1 trial has finished, but not to its end; {running}"
    return f"{finished:,} trials have finished, none of them to its end; {running}"


def _cut_short(material: Material) -> list[str]:
    """Why runs were cut short, and where to read on."""
    cut = material.findings.cut_short
    if not cut:
        return []
    log = material.settings.directory / "trials" / str(cut[-1].trial.number) / "log.txt"
    return [f"Cut short: {why_cut_short(cut)}; its log is {shown(log.absolute())} there."]
