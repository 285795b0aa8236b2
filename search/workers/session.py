"""A search from settings to the last trial."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from search.devices import VARIABLE, has_nvidia_card, reserved, visible_gpus
from search.errors import UserError
from search.files import write_text
from search.preparation.cache import cache_directory, in_use, make_cache_directory
from search.settings.knobs import refuse_space
from search.settings.settings import Settings, safe_url
from search.study import earlier, findings, listing, storage, warm_start
from search.study.control import Control
from search.study.folder import make_folder, refuse_closed, refuse_strange_folder, study_lock
from search.study.leases import Leases
from search.study.server import wait_for_server
from search.study.warm_start import Memory
from search.text import duration, printable
from search.trial import Prepared, evaluation_steps
from search.workers import outlook
from search.workers.budget import search_budget, share
from search.workers.cost import Cost, search_costs
from search.workers.events import Extent, Screen, View
from search.workers.gpus import refuse_unusable
from search.workers.launcher import Failed, Launcher
from search.workers.supervisor import Supervisor
from search.workers.work import SearchWork

WARNINGS = 5  # of the check, shown by a search


Costs = Callable[[Settings, Prepared, int], list[Cost]]  # of the parts to come, after so many finished trials


def search(settings: Settings, view: View, costs: Costs = search_costs) -> "Result":
    """Runs the study to its number of trials and returns what it found. Raises UserError, then nothing was created.

    What `costs` gives is told before the search starts: its own, or with those of what follows.
    """
    started = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with ExitStack() as stack:
        exists = settings.directory.exists()
        if exists:  # fails at once, not after the preparation, when another search holds the study
            stack.enter_context(study_lock(settings))
        refuse_closed(settings)
        wait_for_server(settings.storage_url, 60 * settings.service.start_minutes, view.note)
        storage.refuse_stopped(settings)
        storage.try_out(settings)  # refuses a database that is away, of another schema or without rights
        recalled = earlier.recall(settings)
        gpus = stack.enter_context(reserved(visible_gpus(), settings.study.workers, cache_directory() / "gpus"))
        devices = slots(settings, gpus)
        launcher = Launcher()
        prepared = prepare(settings, launcher, view, devices)
        stack.enter_context(hold(prepared))
        refuse_space(settings, prepared)
        describe(settings, prepared, devices, view)
        refuse_strange_folder(settings)
        make_folder(settings)
        if not exists:
            stack.enter_context(study_lock(settings))
        supervisor, study, refused = _supervised(settings, prepared, recalled, launcher, view, devices, costs)
        found = findings.read(study)
    halted = supervisor.orders.halted if found.finished < settings.study.trials else None
    seconds = time.monotonic() - started
    stopped, spent = supervisor.stopped, supervisor.seconds
    return Result(found, study.user_attrs, stopped, halted, spent, seconds, len(devices), refused)


def _supervised(
    settings: Settings,
    prepared: Prepared,
    recalled: Memory | None,
    launcher: Launcher,
    view: View,
    devices: list[str | None],
    costs: Costs,
) -> tuple[Supervisor, optuna.Study, str | None]:
    """The supervisor, the study and why the budget has no room, once all trials have run or something ended them."""
    database = storage.open_storage(settings.storage_url, settings.service.connections)
    database.on_outage = view.note
    study, ledger = storage.open_study(settings, prepared, database, recalled)
    if (memory := storage.memory_of(ledger.study_id, database))["studies"]:
        view.note(warm_start.described(memory))
    for name, value in ((listing.ASKED, settings.study.trials), (listing.ENDED, None)):
        study.set_user_attr(name, value)
    write_text(settings.directory / "study.toml", settings.to_toml())
    before = findings.read(study)
    best = before.completed[0] if before.completed else None
    leader = (best.trial.number, best.trial.value) if best and best.trial.value is not None else None

    def tell(finished: int) -> None:
        """What is to come, with its time as soon as trials have shown how long a step takes."""
        if parts := costs(settings, prepared, finished):
            gpus = share(devices)
            outlook.tell(view, outlook.forecast(settings, parts, findings.read(study), len(devices), gpus), gpus)

    tell(before.finished)
    extent = Extent(settings.study.trials, before.finished, len(devices), before.base.mel_ce, leader)
    view.begin(with_rule(extent, settings))
    database.patience = 60 * settings.service.outage_minutes
    leases = Leases(ledger, settings.service, settings.study.max_retries, view.note, share(devices))
    budget = search_budget(settings, database, prepared, devices, costs(settings, prepared, before.finished), view)
    work = SearchWork(study, settings, prepared, _once(tell, before.finished, settings.study.trials), budget)
    supervisor = Supervisor(work, leases, settings, prepared, launcher, view, devices)
    supervisor.run(database.hurry)
    if work.ended:
        study.set_user_attr(listing.ENDED, work.ended)
    return supervisor, study, budget.refused if budget and budget.is_over else None


def _once(tell: Callable[[int], None], before: int, total: int) -> Callable[[int], None]:
    """Calls `tell` once, as soon as a trial has finished, unless one had `before`, or it was the only one."""
    left = [] if before else [tell]

    def counted(finished: int) -> None:
        if left and 0 < finished < total:
            left.pop()(finished)

    return counted


@contextmanager
def hold(prepared: Prepared) -> Iterator[None]:
    """Until the block ends, `study.py cache` and other searches do not remove what the runs read."""
    cache = cache_directory()
    files = prepared.coqui_config.get("model_args", {})
    # An extended base has links to the files of the base that it was made of.
    bases = (Path(files[name]) for name in ("xtts_checkpoint", "dvae_checkpoint", "mel_norm_file") if name in files)
    read = {Path(prepared.directory), *(path for file in bases for path in (file.parent, file.resolve().parent))}
    with in_use(*sorted({folder.resolve() for folder in read if folder.parent.resolve() == cache.resolve()})):
        yield


@dataclass(frozen=True)
class Result:
    """What a search leaves."""

    findings: findings.Findings
    attributes: dict[str, Any]  # of the study
    stopped: bool  # by the user
    halted: Control | None  # by what people told all machines
    spent: dict[str, float]  # seconds of all slots, by what was done in them
    seconds: float  # from start to end
    slots: int
    over_budget: str | None = None  # why trials are missing that would have run under a larger budget


def prepare(settings: Settings, launcher: Launcher, view: Screen, devices: Iterable[str | None]) -> Prepared:
    """Prepares data and base in a child, once it is sure that torch can use `devices`.

    Raises UserError for what the user can fix.
    """
    request = {"settings": settings.model_dump_json(), "cache": str(make_cache_directory())}
    view.status("loading torch and TTS")
    refuse_unusable([*dict.fromkeys(filter(None, devices))], launcher, view.refresh)
    try:
        found = launcher.call("search.preparation.prepare:run", request, told(view.status), waiting=view.refresh)
    except Failed as error:
        raise UserError(f"preparation failed: {error}") from error
    return Prepared(**found)


def told(status: Callable[[str], None]) -> Callable[[dict[str, Any]], None]:
    """What a child says of its progress, as a status."""
    return lambda message: status(message["text"]) if message["kind"] == "progress" else None


def slots(settings: Settings, gpus: Sequence[str]) -> list[str | None]:
    """The device of each slot: one slot per GPU, one on a CPU, or `study.workers` slots over the GPUs in turn.

    The miniature, whose runs use one core each, has two on a CPU.
    """
    on_cpu = min(2, os.cpu_count() or 1) if settings.is_miniature else 1
    count = settings.study.workers or len(gpus) or on_cpu
    return [gpus[i % len(gpus)] if gpus else None for i in range(count)]


def describe(settings: Settings, prepared: Prepared, devices: list[str | None], view: View) -> None:
    """What is about to be searched, in a few lines."""
    horizon = settings.trial_horizon(prepared.train_clips)
    data = "the generated Amharic speech" if settings.data.path == "miniature" else settings.data.path
    view.note(
        f"data: {prepared.train_clips} training clips ({duration(prepared.train_seconds)}) and {prepared.eval_clips}"
        f" for evaluation ({duration(prepared.eval_seconds)}) of {data}"
    )
    if prepared.dropped:
        view.note(f"dropped {len(prepared.dropped)} clips that cannot be trained on:")
        for file, reason in prepared.dropped[:10]:
            view.note(f"  {printable(file)}: {printable(reason)}")
        if len(prepared.dropped) > 10:
            view.note(f"  and {len(prepared.dropped) - 10} more; study.py check lists them")
    for warning in prepared.warnings[:WARNINGS]:
        view.note(f"warning: {printable(warning)}")
    if len(prepared.warnings) > WARNINGS:
        view.note(f"and {len(prepared.warnings) - WARNINGS} warnings more: study.py check")
    if prepared.added_tokens:
        view.note(
            f"vocabulary: {len(prepared.added_tokens)} tokens that the base lacked were appended"
            f" ({printable(' '.join(prepared.added_tokens[:12]))}{' …' if len(prepared.added_tokens) > 12 else ''})"
        )
    full = settings.full_horizon(prepared.train_clips)
    count = len(evaluation_steps(horizon, settings.training.evaluations))
    where = f"{len(devices)} slot{'s' if len(devices) > 1 else ''} on " + ("GPUs" if devices[0] else "the CPU")
    if not devices[0] and VARIABLE not in os.environ and has_nvidia_card():
        view.note("warning: this machine has an NVIDIA card, but no driver for it: trials run on the CPU")
    view.note(f"trials of {horizon} optimizer steps ({full} in the full run), {count} evaluations each, {where}")
    view.note(f"storage: {safe_url(settings.storage_url)}")
    space = settings.search_space()
    for baseline in space.baselines:
        _, clipped = space.to_params(baseline.hyperparameters)
        if clipped:
            view.note(f"baseline {baseline.name} lies outside the space and is clipped: {', '.join(clipped)}")
    base = prepared.base_evaluation
    view.note(f"base model, untouched: eval {base['mel_ce']:.4f} nats per audio token, text {base['text_ce']:.3f}")


def with_rule(extent: Extent, settings: Settings) -> Extent:
    """`extent` with the rule that ends a trial."""
    pruning = settings.pruning
    if not pruning.two_increases:
        return extent
    return replace(extent, n_increases=pruning.n_increases, min_delta=pruning.min_delta)
