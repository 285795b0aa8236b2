#!/usr/bin/env python3
"""xtts-study: the hyperparameters of XTTS-v2 fine-tuning, searched. The command line: it parses, wires and prints."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from search.command_line import (
    common,
    is_given,
    load_settings,
    make_console,
    notifying,
    output_of,
    parsed,
    shown,
    telling,
)
from search.commands import COMMANDS
from search.errors import UserError
from search.views.notify import complain
from search.views.output import Output, said


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--trials", type=int, help="Finished trials in all (default 40); the same command resumes.")
@click.option("--workers", type=int, help="Slots; default: one a visible GPU, one on a CPU (the miniature: two).")
@click.option("--seed", type=int, help="Of the sampler and of every run.")
@click.option("--repeats", type=int, help="More runs of the stock recipe with other seeds, to measure the noise.")
@click.option("--confirm", "then_confirm", is_flag=True, help="Prove the winner in full runs once the search is done.")
@telling
@common
@click.pass_context
def search(
    context: click.Context,
    trials: int | None,
    workers: int | None,
    seed: int | None,
    repeats: int | None,
    then_confirm: bool,
    **given: Any,
) -> None:
    """Search learning rate, weight decay, milestones and gradient clip for an XTTS-v2 fine-tune, and export the best.

    Without settings it searches the miniature: a small base and generated Amharic speech, on any machine.
    """
    flags = {"study.trials": trials, "study.workers": workers, "study.seed": seed, "study.repeats": repeats}
    if context.invoked_subcommand is not None:
        if any(is_given(context, parameter.name or "") for parameter in context.command.params):
            raise click.UsageError(f"options go after the command: study.py {context.invoked_subcommand} …")
        return
    settings = load_settings(given, flags)
    output = output_of(context)
    output.open(settings.study.name, given["notify"])
    from search import report, session
    from search.views import outcome

    if settings.is_miniature:
        make_console().print(
            "Searching the miniature: a small base, generated Amharic speech. For your own data see study.example.toml."
        )
    with output.watching(settings.study.name) as view:
        result = session.search(settings, view)
    found = outcome.of_search(result.findings, settings.study.trials, result.path)
    output.searched(found, result.stopped)
    console = make_console()
    report.show(result.findings, settings.search_space(), console)
    if result.time_share:
        console.print(result.time_share)
    if result.path:
        confirmed = "confirmed" if found["confirmed"] else "not confirmed at full length"
        console.print(f"Exported ({confirmed}): {shown(result.path)}")
    if result.stopped:
        console.print("Stopped; the same command continues the study.")
        context.exit(130)
    if then_confirm:
        prove(settings, context, given["notify"], is_described=True)


@search.command(short_help="Prove the winner: full runs with several seeds.")
@click.option("--workers", type=int, help="Slots, as in the search.")
@click.option("--top", type=int, help="Best trials that race the stock recipe (default 1).")
@click.option("--seeds", type=int, help="Full runs of each config that can still win (default 3).")
@click.option("--audit", type=int, help="Pruned trials that are finished, to see what pruning lost (default 2).")
@telling
@common
@click.pass_context
def confirm(
    context: click.Context, workers: int | None, top: int | None, seeds: int | None, audit: int | None, **given: Any
) -> None:
    """Run the best trials and the stock recipe at full length with several seeds, and export the winner.

    The same command resumes, and may run on several machines at once.
    """
    flags = {"study.workers": workers, "confirm.top": top, "confirm.seeds": seeds, "confirm.audit": audit}
    prove(load_settings(given, flags), context, given["notify"])


def prove(settings: Any, context: click.Context, urls: Sequence[str], is_described: bool = False) -> None:
    """Confirms, shows the result, and exports what it recommends."""
    output = output_of(context)
    output.open(settings.study.name, urls)
    from search import handover
    from search.confirmation import report as confirmation_report
    from search.confirmation import session
    from search.views import outcome

    with output.watching(settings.study.name) as view:
        result = session.confirm(settings, view, is_described)
    console = make_console()
    if result.confirmation is None:
        output.stopped()
        console.print("Stopped; study.py confirm with the same settings continues the confirmation.")
        context.exit(130)
    confirmation_report.show(result.confirmation, result.findings.base, console)
    best = handover.choose(settings, None)
    path = handover.save(best, "json", settings, None)
    output.confirmed(outcome.of_confirmation(best, result.findings, path))
    console.print(f"Exported ({'confirmed' if best.confirmed else 'not confirmed'}): {shown(path)}")


@search.command(short_help="Show what a study has found so far.")
@common
def status(**given: Any) -> None:
    """Show what a study has found so far, from any terminal."""
    settings = load_settings(given, shows=True)
    from search import report, storage

    findings = report.read(storage.load_study(settings))
    console = make_console()
    from search.confirmation import session

    runs = found = unread = None
    try:
        runs = session.read(settings)
        found = session.result(runs, findings, settings) if runs else None
    except UserError as error:
        unread = error  # of the confirmation: the search can be shown
    report.show_running(findings, settings.search_space(), console)
    report.show(findings, settings.search_space(), console, confirmed=found is not None)
    if runs:
        from search.confirmation import report as confirmation_report

        if found:
            confirmation_report.show(found, findings.base, console)
        else:
            confirmation_report.show_progress(runs, console)
    if unread:
        raise unread


@search.command(short_help="Write the config for the full run.")
@click.option("--trial", type=int, metavar="N", help="A completed trial; default: the confirmed config, or the best.")
@click.option(
    "--format", "form", type=click.Choice(["json", "coqui"]), default="json", help="coqui: for its own trainer."
)
@click.option("--output", help="A file, or - for the terminal; default: in the study's folder.")
@common
def export(trial: int | None, form: str, output: str | None, **given: Any) -> None:
    """Write the config for the full run: best_config.json, or a config that coqui's own trainer reads."""
    settings = load_settings(given, shows=True)
    from search import handover

    best = handover.choose(settings, trial)
    if output == "-":
        sys.stdout.write(handover.text(best, form))
        path = "FILE"
    else:
        path = shown(handover.save(best, form, settings, Path(output) if output else None))
        print(f"Exported ({'confirmed' if best.confirmed else 'not confirmed'}): {path}")
    print(*handover.advice(best, form, path), sep="\n", file=sys.stderr if output == "-" else sys.stdout)


@search.command(short_help="Run a trial again in the foreground.")
@click.argument("number", type=int)
@common
def replay(number: int, **given: Any) -> None:
    """Run trial NUMBER again in the foreground, from its spec, and compare its evaluations with those of the search."""
    settings = load_settings(given)
    from search.replay import run_again

    def line(then: Any, now: Any) -> None:
        compared = f"then {then.mel_ce:.6f}  difference {now.mel_ce - then.mel_ce:+.1e}" if then else "not recorded"
        print(f"step {now.step}  eval {now.mel_ce:.6f}  {compared}", flush=True)

    pairs = run_again(settings, number, line, complain)
    recorded = [(then, now) for then, now in pairs if then]
    same = sum(then.mel_ce == now.mel_ce for then, now in recorded)
    print(f"{same} of {len(recorded)} recorded evaluations are the same bit for bit.")


@search.command(short_help="Measure any run's checkpoints, and correct its logs.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--accumulation", type=click.IntRange(min=1), help="Of the logged run, where its log does not tell.")
@click.option("--logs-only", is_flag=True, help="Read the logs and measure nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@common
def checkpoints(folder: Path, accumulation: int | None, logs_only: bool, as_json: bool, **given: Any) -> None:
    """List the checkpoints of DIR, a run folder of coqui's trainer or of ours, with their real eval losses.

    DIR may also be a folder of runs, or a log alone. Says what the logs claim, what of it is so, and which to take.
    """
    settings = load_settings(given)
    from search.coqui_runs import view as checkpoints_view
    from search.coqui_runs.folder import read
    from search.printable import printable

    report = read(folder, accumulation)
    if not logs_only:
        from search.coqui_runs.measure import measure

        measure(report, settings, lambda text: print(printable(text), file=sys.stderr, flush=True))
    if as_json:
        print(checkpoints_view.to_json(report))
    else:
        checkpoints_view.show(report, make_console())


@search.command(short_help="Train in full with an exported config.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--seed", type=int, help="Of the run; default: the search's.")
@click.option("--max-gap", type=float, help="Eval / train probe above which the run stops; default: the config's.")
@click.option(
    "--min-delta", metavar="NATS", help="A smaller rise is none; seed_noise: as the confirmation measured it."
)
@click.option("--healthy-gap", type=float, help="Below which the report calls it healthy; default: the config's.")
@click.option("--set", "set_", metavar="SECTION.KEY=VALUE", multiple=True, help="Like data.path, where it lies here.")
@notifying
@click.pass_context
def train(
    context: click.Context,
    config: Path,
    output: Path,
    seed: int | None,
    max_gap: float | None,
    healthy_gap: float | None,
    min_delta: str | None,
    set_: tuple[str, ...],
    notify: tuple[str, ...],
) -> None:
    """Train in full with CONFIG, a best_config.json; at the end OUTPUT/ready speaks. The same command resumes."""
    from search.full_run import session
    from search.full_run.view import make_full_run_view

    flags = {"train.max_gap": max_gap, "train.healthy_gap": healthy_gap}
    overrides = {**parsed(set_), **{k: v for k, v in flags.items() if v is not None}}
    told = output_of(context)
    told.open(output.absolute().name, notify)
    view = make_full_run_view()
    try:
        result = session.train(config, output, seed, overrides, view, min_delta)
    finally:
        view.close()
    if result is None:
        print("Stopped; the same command continues.")
        context.exit(130)
    told.trained(result)
    print(*result.lines(), *session.next_steps(output), sep="\n")
    context.exit(1 if result.reason == "diverged" else 0)


def main() -> None:
    """One clear line and exit code 2 for bad input."""
    try:
        with Output() as output:
            code = search(standalone_mode=False, obj=output)
    except click.ClickException as error:
        sys.exit(refuse(said(error)))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `study.py | head`
        sys.stderr.close()
        sys.exit(141)
    except UserError as error:
        sys.exit(refuse(str(error), error.details))
    sys.exit(code or 0)


def refuse(message: str, details: Sequence[str] = ()) -> int:
    print(f"study.py: {' '.join(message.split())}", *(f"  {line}" for line in details), sep="\n", file=sys.stderr)
    return 2


for _command in COMMANDS:
    search.add_command(_command)

if __name__ == "__main__":
    main()
