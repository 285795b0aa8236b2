"""`study.py train`: the full run of a `best_config.json`, followed from a process without torch."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from search.devices import reserved, visible_gpus
from search.errors import NoResult, UserError
from search.files import write_text
from search.full_run import training_report
from search.full_run.display import FullRunView
from search.full_run.follow import Follower
from search.full_run.order import Order, finished, make_order, own_folder, verify
from search.full_run.result import FullResult, is_ready
from search.preparation.cache import cache_directory
from search.settings.best_config import BestConfig, read
from search.trial import Prepared, TrialSpec
from search.workers.interruption import Interruption
from search.workers.launcher import Failed, Launcher
from search.workers.session import hold, prepare


def train(
    config: Path,
    output: Path,
    seed: int | None,
    overrides: Mapping[str, Any],
    view: FullRunView,
    min_delta: float | None = None,
    small: bool = False,
) -> FullResult | None:
    """The result, with `ready/` and the report in `output`; None after a stop by the user. Raises UserError.

    With `small`, `ready/` lacks what only a next fine-tune needs.

    The same call resumes where the one before ended, whatever ended it, and does not repeat what is done.
    """
    order = make_order(config, output, seed, overrides, min_delta)
    with ExitStack() as stack:
        exists = order.directory.exists()
        if exists:
            stack.enter_context(own_folder(order))
            if (done := finished(order)) and is_ready(order.directory / "ready", small):
                return done
        gpus = stack.enter_context(reserved(visible_gpus(), 1, cache_directory() / "gpus"))
        launcher = Launcher()
        warn_of_verdict(order.best, view)
        prepared = prepare(order.settings, launcher, view, gpus)
        stack.enter_context(hold(prepared))
        verify(order, prepared, view)
        if not exists:  # made only for what is sure to start
            stack.enter_context(own_folder(order))
        spec = order.spec(prepared.directory, gpus[0] if gpus else None)
        write_text(order.directory / "best_config.json", config.read_text(encoding="utf-8"))
        write_text(order.directory / "spec.json", spec.to_json())
        return _train(order, spec, prepared, launcher, view, small)


def _train(
    order: Order, spec: TrialSpec, prepared: Prepared, launcher: Launcher, view: FullRunView, small: bool
) -> FullResult | None:
    ready = order.directory / "ready"
    with Interruption(view.leave) as interruption:
        result = finished(order)
        if result is None:
            request = {"spec": spec.to_json(), "stopping": order.stopping.model_dump_json()}
            child = launcher.start("search.full_run.child:run", request, order.directory / "log.txt", spec.device)
            result = Follower(child, interruption, order, prepared, view).follow()
            if result is None:
                return None
            shutil.rmtree(ready, ignore_errors=True)  # of a run that ended sooner, by other rules
            result.save(order.directory / "result.json")
        page = training_report.write(order.directory, result, order.best, prepared)
        if result.best is None:
            raise NoResult(
                f"the run diverged after {result.record['steps']} optimizer steps, before its first evaluation: there"
                " is no model; lower hyperparameters.lr, or give the search more trials, and train in a new folder"
            )
        if not is_ready(ready, small):
            view.status("making ready/")
            asked = {"spec": spec.to_json(), "report": str(page), "small": small}
            child = launcher.start("search.full_run.child:ready", asked, order.directory / "log.txt")
            try:
                child.result(lambda _: None, lambda: _wait(view, interruption))
            except KeyboardInterrupt:
                return None
            except Failed as error:
                raise UserError(f"ready/ could not be made: {error}") from error
    return result


def _wait(view: FullRunView, interruption: Interruption) -> None:
    """Raises KeyboardInterrupt once the user wants to stop."""
    view.refresh()
    if interruption.asked:
        raise KeyboardInterrupt


def warn_of_verdict(best: BestConfig, view: FullRunView) -> None:
    verdict = best.confirmation.verdict if best.confirmation else None
    if not best.confirmed or verdict != "better than the stock recipe":
        view.note(f"warning: {best.status}")


def next_steps(directory: Path) -> list[str]:
    """What to do with a run that has ended, for a terminal."""
    ready = directory / "ready"
    language = read(directory / "best_config.json").settings["data"]["language"]
    size = (ready / "model.pth").stat().st_size
    return [
        f"Report: {directory / training_report.NAME}",
        f"Model: {ready} ({size / 1e9:.2f} GB, without optimizer); {directory / 'state'} may be deleted",
        f'Speak: python {ready / "speak.py"} "text" --language {language} --reference reference/1.wav --output out.wav',
    ]
