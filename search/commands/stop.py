"""`study.py stop`: all searches of the study end, or one trial does."""

from typing import Any

import click

from search.commands.options import common, load_settings
from search.study import steering


@click.command()
@click.argument("trial", type=click.IntRange(min=0), required=False)
@click.option("--now", is_flag=True, help="Cut running trials short; they run again after study.py resume.")
@common
def command(trial: int | None, now: bool, **given: Any) -> None:
    """End all searches of the study, on all machines, once their running trials have ended.

    No search starts until study.py resume. With TRIAL, end this trial alone: it keeps its best evaluation, counts, and
    is not run again.
    """
    if trial is not None and now:
        raise click.UsageError("--now cuts all running trials short; a TRIAL that is named always ends at once")
    settings = load_settings(given, shows=True)
    ledger, _, trials = steering.open_ledger(settings)
    if trial is None:
        click.echo(f"{settings.study.name}: {ledger.steer(lambda said: said.told('stopped', cuts=now)).words}")
        return
    steering.stop_trial(ledger, trials, trial)
    when = "now, and keeps its best evaluation" if trials[trial].intermediate_values else "after its first evaluation"
    click.echo(f"{settings.study.name}: trial {trial} ends {when}")
