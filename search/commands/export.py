"""`study.py export`: which config of a study is exported, and as which file."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.confirmation import export
from search.confirmation.confirm import load as load_confirmation
from search.confirmation.export import content_of, to_json, write, write_file
from search.errors import NoResult, UserError
from search.settings.best_config import BestConfig
from search.settings.knobs import beyond_coqui
from search.settings.settings import Settings
from search.study import divergence, storage
from search.study import findings as report
from search.study.findings import Findings, Row
from search.study.fingerprint import differing_settings
from search.text import shown

FILES = {"json": "best_config.json", "coqui": "coqui_config.json"}  # in the study's folder, by format
SHOWN = 5  # best trials named in a refusal


def choose(settings: Settings, number: int | None) -> BestConfig:
    """The config of trial `number`, or without a number what the confirmation recommends, or else the best trial.

    Raises UserError for a trial that has not completed, and for a study that was made with other settings.
    """
    study = storage.load_study(settings)
    findings = report.read(study)
    attributes = study.user_attrs
    _refuse_other_settings(settings, attributes)
    confirmation = load_confirmation(settings, findings)
    if number is not None or confirmation is None:
        if why := divergence.why(findings, settings):
            raise NoResult(why)
        row = _completed(findings, number)
        return export.build(findings, settings, attributes, trial=row, confirmation=confirmation)
    if all(candidate.mean is None for candidate in confirmation.candidates):
        raise NoResult(
            "no config of the confirmation came to an end in its full runs, so nothing is exported; give lower rates,"
            " such as --set confirm.rates=[0.1,0.01], then run study.py confirm again"
        )
    chosen = export.recommended(confirmation)
    ran = next((row for row in findings.rows if row.trial.number == chosen.trial), None)
    point = chosen.hyperparameters
    return export.build(findings, settings, attributes, trial=ran, point=point, confirmation=confirmation)


def _completed(findings: Findings, number: int | None) -> Row:
    completed = findings.completed
    if not completed:
        raise UserError(f"study {findings.study!r} has no completed trial yet; run study.py until one is")
    for row in completed:
        if number in (None, row.trial.number):
            return row
    found = next((row for row in findings.rows if row.trial.number == number), None)
    what = f"study {findings.study!r} does not have"
    if found:
        what = f"ended as {found.reason}" if found.trial.state.is_finished() else "has not ended"
    best = ", ".join(str(row.trial.number) for row in completed[:SHOWN])
    raise UserError(f"--trial is {number}, which {what}; only a completed trial can be exported; the best are {best}")


def _refuse_other_settings(settings: Settings, attributes: Mapping[str, Any]) -> None:
    """Raises UserError with a line for each setting that the study's trials did not run under.

    The sources are not compared: a later commit may export an earlier one's study.
    """
    if differing := differing_settings(attributes, settings, "code"):
        kept = settings.directory / "study.toml"
        remedy = f"give --settings {kept}" if kept.exists() else "give its own with --settings"
        raise UserError(f"study {settings.study.name!r} was made with other settings than these; {remedy}:", differing)


def save(best: BestConfig, form: str, settings: Settings, output: Path | None) -> Path:
    """Writes `best` as `form` ("json" or "coqui") to `output`, or to its place in the study's folder; returns the path.

    Raises UserError rather than replace a file that is not this study's. In the study's folder an unconfirmed export
    does not replace a confirmed one.
    """
    path = output or settings.directory / FILES[form]
    kept = settings.directory / FILES["json"]
    if output is None and not best.confirmed and export.confirmation_at(kept, best.study):
        raise UserError(f"{kept} is confirmed, and this export is not; name another file with --output")
    if form == "json":
        write(best, path)
        return path
    there = content_of(path)
    if path.exists() and ("optimizer_params" not in there or there.get("run_name") != best.study):
        raise UserError(
            f"{path} is no coqui config of study {best.study!r}, and is left alone; name another with --output"
        )
    write_file(path, text(best, form))
    return path


def text(best: BestConfig, form: str) -> str:
    """The file's content. Raises UserError for a config that coqui's cannot hold."""
    if form == "json":
        return to_json(best)
    if unsaid := beyond_coqui(best.hyperparameters):
        raise UserError(
            f"coqui's own trainer cannot do {' and '.join(unsaid)}, and would train something else; export with"
            " --format json, and train that with study.py train"
        )
    return json.dumps(best.coqui_config, ensure_ascii=False, indent=2) + "\n"


def advice(best: BestConfig, form: str, path: str) -> list[str]:
    """What a user has to know about the file, in lines."""
    lines = [best.status, *(f"Warning: {text}." for text in best.warnings)]
    if form == "coqui":
        steps = best.grad_accum_steps
        lines += [
            f"coqui's config has no field for accumulation: its trainer needs TrainerArgs(grad_accum_steps={steps}).",
            f"It counts epochs: {best.coqui_config['epochs']} hold the {best.schedule.horizon} optimizer steps of the"
            " full run, the last one perhaps in part. It neither stops early nor evaluates as the search does.",
            f"Train with coqui alone: python docs/train_with_coqui.py {path} --grad-accum-steps {steps}",
        ]
    return lines


@click.command()
@click.option("--trial", type=int, metavar="N", help="A completed trial. Default: the confirmed config, or the best.")
@click.option(
    "--format", "form", type=click.Choice(["json", "coqui"]), default="json", help="coqui: for coqui's own trainer."
)
@click.option("--output", help="A file, or - for stdout. Default: in the study's folder.")
@common
def command(trial: int | None, form: str, output: str | None, **given: Any) -> None:
    """Write the config for the full run: best_config.json, or a config that coqui's own trainer reads."""
    settings = load_settings(given, shows=True)
    best = choose(settings, trial)
    if output == "-":
        sys.stdout.write(text(best, form))
        path = "FILE"
    else:
        path = shown(save(best, form, settings, Path(output) if output else None))
        print(f"Exported ({'confirmed' if best.confirmed else 'not confirmed'}): {path}")
    print(*advice(best, form, path), sep="\n", file=sys.stderr if output == "-" else sys.stdout)
