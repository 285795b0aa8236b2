"""`study.py replay`: a trial once more, from its spec, in this process."""

import dataclasses
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.errors import UserError
from search.settings.settings import Settings
from search.study import findings, storage
from search.text import complain, printable
from search.trial import Evaluation, TrialSpec
from search.workers.child import in_a_line


def run_again(settings: Settings, number: int, report_line: Any, note: Callable[[str], None]) -> list[tuple[Any, Any]]:
    """Runs trial `number` again in this process, from its spec, in a folder of its own.

    Returns pairs (evaluation then, evaluation now). `report_line` is called with each pair as it comes, `note` if the
    trial then fails to speak. Raises UserError when the trial or its prepared data is not on this machine.
    """
    directory = settings.directory / "trials" / str(number)
    if not (directory / "spec.json").exists():
        raise UserError(
            f"trial {number} of study {settings.study.name!r} has no {directory / 'spec.json'} on this machine"
        )
    try:
        spec = TrialSpec.from_json((directory / "spec.json").read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{directory / 'spec.json'} cannot be read: {error}") from error
    if not (Path(spec.prepared) / "prepared.json").exists():
        raise UserError(
            f"the prepared data of trial {number} is gone from {spec.prepared}; run the search again to make it"
        )
    target = directory / f"replay-{time.strftime('%Y%m%d-%H%M%S')}"
    target.mkdir()
    if spec.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = spec.device  # before CUDA starts
    from search.training.run import NoCaller, run_trial  # torch: replay trains in the foreground

    recorded = {row.trial.number: row for row in findings.read(storage.load_study(settings)).rows}.get(number)
    then = {e.step: e for e in recorded.evaluations} if recorded else {}
    pairs: list[tuple[Any, Any]] = []
    said: set[str] = set()

    class Listener(NoCaller):
        def say(self, kind: str, **values: Any) -> None:
            said.add(kind)
            if kind == "evaluation":
                pairs.append((then.get(values["step"]), Evaluation(**values)))
                report_line(*pairs[-1])

    try:
        run_trial(dataclasses.replace(spec, directory=str(target)), Listener())
    except Exception as error:
        if "trained" not in said:
            raise
        (target / "log.txt").write_text(traceback.format_exc(), encoding="utf-8")
        note(f"trial {number} could not speak: {printable(in_a_line(error))}; see {target / 'log.txt'}")
    return pairs


@click.command()
@click.argument("number", type=int)
@common
def command(number: int, **given: Any) -> None:
    """Run trial NUMBER again in the foreground, from its spec, and compare its evaluations with those of the search."""
    settings = load_settings(given)

    def line(then: Any, now: Any) -> None:
        compared = f"then {then.mel_ce:.6f}  difference {now.mel_ce - then.mel_ce:+.1e}" if then else "not recorded"
        print(f"step {now.step}  eval {now.mel_ce:.6f}  {compared}", flush=True)

    pairs = run_again(settings, number, line, complain)
    recorded = [(then, now) for then, now in pairs if then]
    same = sum(then.mel_ce == now.mel_ce for then, now in recorded)
    print(f"{same} of {len(recorded)} recorded evaluations are the same bit for bit.")
