"""`study.py replay`: a trial once more, from its spec, compared with what the search recorded."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.errors import NoResult, UserError
from search.settings.settings import Settings
from search.study import findings, storage
from search.text import complain, printable
from search.trial import Evaluation, TrialSpec
from search.workers.launcher import Failed, Launcher, Message

Pair = tuple[Evaluation | None, Evaluation]  # (then, now)


def run_again(
    settings: Settings, number: int, report_line: Callable[..., None], note: Callable[[str], None]
) -> list[Pair]:
    """Runs trial `number` again, from its spec, in a process and a folder of its own.

    `report_line` is called with each pair (evaluation then, evaluation now) as it comes, `note` if the trial then fails
    to speak. Raises UserError when the trial or its prepared data is not on this machine.
    """
    spec = _spec(settings.directory / "trials" / str(number), settings.study.name)
    recorded = {row.trial.number: row for row in findings.read(storage.load_study(settings)).rows}.get(number)
    then = {e.step: e for e in recorded.evaluations} if recorded else {}
    target = Path(spec.directory)
    target.mkdir()
    pairs: list[Pair] = []
    said: set[str] = set()

    def heard(message: Message) -> None:
        said.add(message["kind"])
        if message["kind"] == "evaluation":
            now = Evaluation(**{name: value for name, value in message.items() if name != "kind"})
            pairs.append((then.get(now.step), now))
            report_line(*pairs[-1])

    child = Launcher().start("search.training.child:run", {"spec": spec.to_json()}, target / "log.txt", spec.device)
    try:
        child.result(heard, lambda: None)
    except (Failed, UserError) as error:
        if "trained" not in said:
            raise NoResult(f"trial {number} failed: {printable(str(error))}") from error
        note(f"trial {number} could not speak: {printable(str(error))}")
    return pairs


def _spec(directory: Path, study: str) -> TrialSpec:
    """That of the trial in `directory`, for a run in a new folder in it."""
    file = directory / "spec.json"
    if not file.exists():
        raise UserError(f"trial {directory.name} of study {study!r} has no {file} on this machine")
    try:
        spec = TrialSpec.from_json(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not (Path(spec.prepared) / "prepared.json").exists():
        raise UserError(
            f"the prepared data of trial {directory.name} is gone from {spec.prepared}; run the search again to make it"
        )
    folder = str(directory / f"replay-{time.strftime('%Y%m%d-%H%M%S')}")
    return dataclasses.replace(spec, directory=folder, save_seconds=None)


@click.command()
@click.argument("number", type=int)
@common
def command(number: int, **given: Any) -> None:
    """Run trial NUMBER again in the foreground, from its spec, and compare its evaluations with those of the search."""
    settings = load_settings(given)

    def line(then: Evaluation | None, now: Evaluation) -> None:
        compared = f"then {then.mel_ce:.6f}  difference {now.mel_ce - then.mel_ce:+.1e}" if then else "not recorded"
        print(f"step {now.step}  eval {now.mel_ce:.6f}  {compared}", flush=True)

    recorded = [(then, now) for then, now in run_again(settings, number, line, complain) if then]
    same = sum(then.mel_ce == now.mel_ce for then, now in recorded)
    print(f"{same} of {len(recorded)} recorded evaluations are the same bit for bit.")
