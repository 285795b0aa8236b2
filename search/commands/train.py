"""`study.py train`: the full run."""

from pathlib import Path
from typing import Any

import click

from search.commands import outcome
from search.commands.options import notifying, output_of, overrides
from search.full_run import train
from search.full_run.display import make_full_run_view


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--seed", "run_seed", type=click.IntRange(0, 2**31 - 1), help="Random seed of the run. Default: the search's."
)
@click.option("--max-gap", type=float, help="Stop above this ratio of eval to train probe. Default: the config's.")
@click.option("--min-delta", type=click.FloatRange(0), metavar="NATS", help="Ignore smaller rises.")
@click.option("--small", is_flag=True, help="Leave out of OUTPUT/ready what only a next fine-tune needs.")
@click.option("--set", "set_", metavar="SECTION.KEY=VALUE", multiple=True, help="Any setting, such as data.path.")
@notifying
@click.pass_context
def command(
    context: click.Context,
    config: Path,
    output: Path,
    run_seed: int | None,
    min_delta: float | None,
    small: bool,
    **given: Any,
) -> None:
    """Train in full with CONFIG, a best_config.json; at the end OUTPUT/ready speaks. The same command resumes."""
    overriding = overrides(given)
    told = output_of(context)
    told.open(output.absolute().name, given["notify"])
    view = make_full_run_view()
    try:
        result = train.train(config, output, run_seed, overriding, view, min_delta, small)
    finally:
        view.close()
    if result is None:
        print("Stopped; the same command continues.")
        context.exit(130)
    assert result.best  # train raises UserError without one
    told.over("result", of="full run", reason=result.reason, why=result.why, best=outcome.losses(result.best))
    print(*result.lines(), *train.next_steps(output), sep="\n")
    context.exit(1 if result.reason == "diverged" else 0)
