"""`study.py confirm`: the winner proven in full runs, and exported."""

from collections.abc import Sequence
from typing import Any

import click

from search.commands import export, outcome
from search.commands.options import common, is_on_ray, leave, load_settings, make_console, output_of, running, telling
from search.confirmation import confirm
from search.errors import BUDGET_SPENT
from search.settings.settings import Settings
from search.show import confirmation_tables
from search.text import shown
from search.workers.on_ray import confirm_on_ray


@click.command()
@click.option("--workers", type=int, help="Slots, as in the search.")
@click.option("--top", type=int, help="Best trials that the rate line starts from (default 1).")
@click.option("--seeds", type=int, help="Seeds of the race with the stock recipe, at most (default 4).")
@click.option("--audit", type=int, help="Pruned trials to run in full, to see what pruning lost (default 0).")
@running
@telling
@common
@click.pass_context
def command(context: click.Context, engine: str, ray_address: str | None, **given: Any) -> None:
    """Find the learning rate of the full run, prove the config against the stock recipe on fresh seeds, and export it.

    The same command resumes, and may run on several machines at once.
    """
    prove(load_settings(given), context, given["notify"], engine, ray_address)


def prove(
    settings: Settings,
    context: click.Context,
    urls: Sequence[str],
    engine: str,
    ray_address: str | None,
    is_described: bool = False,
) -> None:
    """Confirms, shows the result, and exports what it recommends."""
    output = output_of(context)
    output.open(settings.study.name, urls)
    with output.watching(settings) as view:
        if is_on_ray(engine, ray_address):
            is_stopped = confirm_on_ray(settings, view, ray_address)
            result = confirm.stored(settings, is_stopped)
        else:
            result = confirm.confirm(settings, view, is_described)
    console = make_console()
    runs = confirm.read(settings)
    trials = [*(row.trial for row in result.findings.rows), *(runs.trials if runs else ())]
    found = {"spent": outcome.spent(trials), "over_budget": result.over_budget}
    if result.confirmation is None:
        if result.over_budget:
            output.over("stopped", exit_code=BUDGET_SPENT, of="confirmation", **found)
            console.print(f"Ended before it is over: {result.over_budget}.")
            context.exit(BUDGET_SPENT)
        again = "study.py confirm with the same settings continues the confirmation"
        leave(context, result.halted, console, again, found)
    confirmation_tables.show(result.confirmation, result.findings.base, console)
    best = export.choose(settings, None)
    path = export.save(best, "json", settings, None)
    output.over("result", **outcome.of_confirmation(best, result.findings, path), **found)
    console.print(f"Exported ({'confirmed' if best.confirmed else 'not confirmed'}): {shown(path)}")
