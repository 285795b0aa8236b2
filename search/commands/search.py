"""`study.py search`, and study.py without a command: truncated trials, and the export of the best."""

from typing import TYPE_CHECKING, Any

import click

from search.commands.options import common, is_on_ray, leave, load_settings, make_console, output_of, running, telling
from search.errors import BUDGET_SPENT, NoResult
from search.text import shown

if TYPE_CHECKING:
    from search.settings.settings import Settings
    from search.study.findings import Findings


def _or_none(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """Nothing given leaves the settings file its say."""
    return given or None


@click.command()
@click.option("--trials", type=int, help="Finished trials in all (default 40); the same command resumes.")
@click.option("--until-settled", is_flag=True, default=None, help="End once more trials are not expected to matter.")
@click.option("--workers", type=int, help="Slots. Default: one per visible GPU; one on a CPU, two for the miniature.")
@click.option("--seed", type=int, help="Random seed for the sampler and all runs.")
@click.option("--repeats", type=int, help="Extra runs of the stock recipe with other seeds, to measure the noise.")
@click.option("--warm-start", metavar="STUDY", multiple=True, callback=_or_none, help="Earlier studies to learn from.")
@click.option("--confirm", "then_confirm", is_flag=True, help="Then find the rate in full runs, and prove the winner.")
@running
@telling
@common
@click.pass_context
def command(context: click.Context, then_confirm: bool, engine: str, ray_address: str | None, **given: Any) -> None:
    """Search learning rate, weight decay, milestones and gradient clip for an XTTS-v2 fine-tune, and export the best.

    Without settings it searches the miniature: a small base and generated Amharic speech, on any machine.
    """
    settings = load_settings(given)
    output = output_of(context)
    output.open(settings.study.name, given["notify"])
    # Imported here: `study.py --help` shows the options above without waiting for Optuna.
    from search.commands import outcome
    from search.commands.confirm import prove
    from search.confirmation import export
    from search.show import tables
    from search.study import spending
    from search.workers import cost, on_ray, session

    console = make_console()
    if settings.is_miniature:
        console.print(
            "Searching the miniature: a small base, generated Amharic speech. For your own data see study.example.toml."
        )
    with output.watching(settings) as view:
        if is_on_ray(engine, ray_address):
            result = on_ray.search_on_ray(settings, view, ray_address)
        else:
            result = session.search(settings, view, cost.pipeline_costs if then_confirm else cost.search_costs)
        path, confirmed = export.write_best_config(result.findings, settings, result.attributes, view.note)
    tables.show(result.findings, settings.search_space(), console)
    for line in spending.told(result.findings):
        console.print(line)
    if any(result.spent.values()):
        console.print(tables.time_share(result.spent, result.seconds, result.slots))
    if path:
        console.print(f"Exported ({'confirmed' if confirmed else 'not confirmed at full length'}): {shown(path)}")
    elif not (result.stopped or result.halted or result.over_budget):
        raise NoResult(_why_no_export(result.findings, settings))
    found = outcome.of_search(result.findings, settings.study.trials, path, confirmed)
    found["over_budget"] = result.over_budget
    if result.stopped or result.halted:
        leave(context, result.halted, console, "the same command continues the study", found)
    output.over("result", **found)
    if result.over_budget:
        console.print(f"Trials are missing: {result.over_budget}.")
    if then_confirm and path:
        prove(settings, context, given["notify"], engine, ray_address, is_described=True)
    if result.over_budget:
        context.exit(BUDGET_SPENT)


def _why_no_export(findings: "Findings", settings: "Settings") -> str:
    """Why a search that is over left nothing to train with, in a line."""
    from search.study import divergence

    if findings.completed:
        return f"best_config.json was not written to {settings.directory}; study.py export writes it elsewhere"
    return divergence.why(findings, settings) or (
        f"none of the {findings.finished} finished trials completed, so nothing is exported; see why they ended above,"
        " then run the same command with more --trials"
    )
