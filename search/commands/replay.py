"""`study.py replay`: a trial once more, from its spec, in this process."""

import dataclasses
import os
import time
import traceback
from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.errors import UserError
from search.study import findings, storage
from search.text import complain, printable
from search.trial import Evaluation, TrialSpec
from search.workers.child import in_a_line


@click.command()
@click.argument("number", type=int)
@common
def command(number: int, **given: Any) -> None:
    """Run trial NUMBER again in the foreground, from its spec, and compare its evaluations with those of the search."""
    settings = load_settings(given)
    spec_file = settings.directory / "trials" / str(number) / "spec.json"
    spec = _read(spec_file, f"trial {number} of study {settings.study.name!r}")
    target = spec_file.with_name(f"replay-{time.strftime('%Y%m%d-%H%M%S')}")
    target.mkdir()
    if spec.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = spec.device  # before CUDA starts
    from search.training.run import NoCaller, run_trial  # torch: replay trains in the foreground

    recorded = {row.trial.number: row for row in findings.read(storage.load_study(settings)).rows}.get(number)
    then = {e.step: e.mel_ce for e in recorded.evaluations} if recorded else {}
    same: list[bool] = []  # of each recorded evaluation: bit for bit
    said: set[str] = set()

    class Listener(NoCaller):
        def say(self, kind: str, **values: Any) -> None:
            said.add(kind)
            if kind == "evaluation":
                now = Evaluation(**values)
                compared = "not recorded"
                if now.step in then:
                    same.append(then[now.step] == now.mel_ce)
                    compared = f"then {then[now.step]:.6f}  difference {now.mel_ce - then[now.step]:+.1e}"
                print(f"step {now.step}  eval {now.mel_ce:.6f}  {compared}", flush=True)

    try:
        run_trial(dataclasses.replace(spec, directory=str(target)), Listener())
    except Exception as error:
        if "trained" not in said:
            raise
        (target / "log.txt").write_text(traceback.format_exc(), encoding="utf-8")
        complain(f"trial {number} could not speak: {printable(in_a_line(error))}; see {target / 'log.txt'}")
    print(f"{sum(same)} of {len(same)} recorded evaluations are the same bit for bit.")


def _read(file: Path, trial: str) -> TrialSpec:
    """Raises UserError when the trial or its prepared data is not on this machine."""
    if not file.exists():
        raise UserError(f"{trial} has no {file} on this machine")
    try:
        spec = TrialSpec.from_json(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not (Path(spec.prepared) / "prepared.json").exists():
        raise UserError(f"the prepared data of {trial} is gone from {spec.prepared}; run the search again to make it")
    return spec
