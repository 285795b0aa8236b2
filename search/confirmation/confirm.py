"""The confirmation of a search: full runs that find the learning rate, then a race with the stock recipe.

Its runs are trials of a second study in the same storage, so that slots and machines share them as they share a
search. The runs that have ended decide which are next; nothing else is stored.

This module is the session: it opens the study, plans, runs the supervisor, and reads the result. `candidates` chooses
the configs, `rate_line` their rates, `plan` is what the study remembers, `runs` and `rounds` are the runs, `race`
compares them, `proof` and `verdict` say what they prove.
"""

from contextlib import ExitStack
from dataclasses import asdict, dataclass

import optuna

from search.confirmation import proof
from search.confirmation.candidates import audited, best_trials, recipes, same
from search.confirmation.plan import Plan, joined
from search.confirmation.readable import confirms, is_readable, plan_of
from search.confirmation.rounds import ConfirmWork
from search.confirmation.runs import Runs
from search.devices import reserved, visible_gpus
from search.errors import NoResult, TryAgain, UserError
from search.preparation.cache import cache_directory
from search.settings.best_config import Confirmation
from search.settings.knobs import refuse_space
from search.settings.sections import CONFIRMATION, STOCK
from search.settings.settings import Settings
from search.study import clips, divergence, listing, storage
from search.study import findings as search_findings
from search.study.control import Control
from search.study.findings import Findings
from search.study.fingerprint import differences, fingerprint
from search.study.folder import make_folder, refuse_closed, study_lock
from search.study.leases import Leases
from search.study.ledger import FINISHED_STATES, Ledger
from search.study.server import wait_for_server
from search.trial import Prepared
from search.workers import outlook
from search.workers.budget import confirmation_budget, no_room, share
from search.workers.cost import confirmation_costs
from search.workers.events import Extent, View
from search.workers.launcher import Launcher
from search.workers.session import describe, hold, prepare, slots, with_rule
from search.workers.supervisor import Supervisor


@dataclass(frozen=True)
class Result:
    """What a confirmation leaves: its result, None when somebody or the budget ended it before it was over."""

    confirmation: Confirmation | None
    findings: Findings
    halted: Control | None = None  # by what people told all machines
    over_budget: str | None = None  # why it was not over, where a larger budget would let it go on


def confirm(settings: Settings, view: View, is_described: bool = False) -> Result:
    """Runs the confirmation of the study to its end. Raises UserError, then nothing was created.

    `is_described` after a search in the same command, which has told what it works on.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    refuse_closed(settings)
    wait_for_server(settings.storage_url, 60 * settings.service.start_minutes, view.note)
    storage.refuse_stopped(settings)
    storage.try_out(settings)
    findings = search_findings.read(storage.load_study(settings))
    if why := divergence.why(findings, settings):
        raise NoResult(why)
    if not findings.completed:
        raise UserError(
            f"study {settings.study.name!r} has no completed trial to confirm; run study.py until some have completed"
        )
    with ExitStack() as stack:
        exists = settings.directory.exists()
        if exists:  # refuses at once, when a search holds it
            stack.enter_context(study_lock(settings))
        gpus = stack.enter_context(reserved(visible_gpus(), settings.study.workers, cache_directory() / "gpus"))
        devices = slots(settings, gpus)
        launcher = Launcher()
        prepared = prepare(settings, launcher, view, devices)
        refuse_space(settings, prepared)
        if not is_described:
            describe(settings, prepared, devices, view)
        make_folder(settings)
        stack.enter_context(hold(prepared))
        if not exists:
            stack.enter_context(study_lock(settings))
        return run(settings, findings, prepared, devices, launcher, view)


def run(
    settings: Settings,
    findings: Findings,
    prepared: Prepared,
    devices: list[str | None],
    launcher: Launcher,
    view: View,
    target: str = "search.training.child:run",
) -> Result:
    """The confirmation of what is prepared; each run is `target` in a process of its own."""
    _refuse_other_settings(settings, prepared)
    database = storage.open_storage(settings.storage_url, settings.service.connections)
    database.on_outage = view.note
    study, ledger = _open(settings, prepared, database)
    plan = _plan(settings, findings, study)
    budget = confirmation_budget(settings, database, prepared, devices, view)
    work = ConfirmWork(study, ledger, settings, prepared, plan, view, budget)
    costs = confirmation_costs(settings, prepared)
    starts = ", ".join(c.name for c in (plan.recipes[0], *plan.trials))
    view.note(f"confirmation: full runs of {plan.horizon} steps; the rate line starts from {starts}")
    gpus = share(devices)
    outlook.tell(view, outlook.forecast(settings, costs, findings, len(devices), gpus), gpus)
    if plan.audited:
        names = ", ".join(c.name for c in plan.audited)
        view.note(f"audit of pruning: {names}, chosen at random, are run to the trials' end and in full")
    finished = sum(trial.state in FINISHED_STATES for trial in work.runs.trials)
    if finished:
        view.note(f"{finished} of these runs have ended already")
    most = sum(cost.runs for cost in costs)
    extent = Extent(most, finished, len(devices), findings.base.mel_ce, None, "run", may_end_sooner=True)
    view.begin(with_rule(extent, settings))
    study.set_user_attr(listing.ENDED, None)
    database.patience = 60 * settings.service.outage_minutes
    leases = Leases(ledger, settings.service, settings.study.max_retries, view.note, gpus)
    supervisor = Supervisor(work, leases, settings, prepared, launcher, view, devices, target)
    supervisor.run(database.hurry)
    found = proof.confirmation(work.runs, findings, settings)
    halted = supervisor.orders.halted
    refused = None
    if budget and budget.is_over and found is None and not (supervisor.stopped or halted):
        refused = budget.refused
        study.set_user_attr(listing.ENDED, listing.BUDGET)
    if found is None and not (supervisor.stopped or halted or refused):
        raise _why_open(work.runs, settings)
    return Result(found, findings, halted, refused)


def _why_open(runs: Runs, settings: Settings) -> UserError:
    """Why there is no result, although there is nothing left to do here."""
    if not runs.is_over:
        return TryAgain("another machine goes on with the confirmation; run the same command again to join it")
    return NoResult(
        f"no full run of the stock recipe ({STOCK}) came to an end, or none of another config, so there is nothing to"
        f" compare; see the logs in {settings.directory / 'confirm'}, then run the same command again"
    )


def _open(settings: Settings, prepared: Prepared, database: storage.StudyStorage) -> tuple[optuna.Study, Ledger]:
    attributes = storage.attributes_of(settings, prepared)
    attributes["fingerprint"]["confirms"] = settings.study.name
    attributes["fingerprint"]["full_evaluations"] = settings.training.full_evaluations
    pruner = two_increases(settings, prepared)
    study, ledger, _ = storage.open_ours(settings.study.name + CONFIRMATION, settings, database, attributes, [], pruner)
    study.sampler = optuna.samplers.RandomSampler()  # never asked: every parameter of a run is fixed
    return study, ledger


def two_increases(settings: Settings, prepared: Prepared) -> optuna.pruners.BasePruner:
    """The search's rules without the median: all that ends a full run, besides the gap rule of the last one."""
    pruning = settings.pruning.model_copy(update={"median": False})
    return storage.make_pruner(settings.model_copy(update={"pruning": pruning}), prepared)


def _refuse_other_settings(settings: Settings, prepared: Prepared) -> None:
    """Raises UserError when the search was made with other settings than these."""
    there = storage.load_study(settings).user_attrs
    differing = differences(there["fingerprint"], fingerprint(settings, prepared))
    differing = clips.named(differing, there["prepared"], asdict(prepared))
    if differing:
        raise UserError(
            f"study {settings.study.name!r} was searched with other settings; make these the same:", differing
        )


def _plan(settings: Settings, findings: Findings, study: optuna.Study) -> Plan:
    """By the settings, and by what was planned before; the study remembers it."""
    old = plan_of(study.user_attrs)
    known = recipes(findings, settings)
    before = {config.name: config for config in old.recipes} if old else {}
    for config in known:
        if config.name in before and not same(config.point, before[config.name].point):
            raise UserError(
                f"{config.name} was {before[config.name].point.describe()} when its full runs were made, and is"
                f" {config.point.describe()} here; give the space its old baselines, or the recipe another name"
            )
    trials = best_trials(findings, settings, known)
    drawn = audited(findings, settings, [*known, *trials, *(old.audited if old else ())])
    new = Plan(
        seed=settings.study.seed,
        seeds=settings.confirm.seeds,
        horizon=study.user_attrs["full_horizon"],
        base=findings.base.mel_ce,
        rates=settings.confirm.rates,
        recipes=tuple(known),
        trials=tuple(trials),
        audited=tuple(drawn[: max(0, settings.confirm.audit - len(old.audited))] if old else drawn),
    )
    plan = joined(old, new)
    study.set_user_attr("plan", asdict(plan))
    return plan


def stored(settings: Settings, is_stopped: bool) -> Result:
    """What the confirmation has come to, by whichever machines, and what ended it if it is not over."""
    findings = search_findings.read(storage.load_study(settings))
    found = load(settings, findings)
    halted = storage.control_of(settings).unless_running if is_stopped else None
    return Result(found, findings, halted, None if is_stopped or found else no_room(settings))


def load(settings: Settings, findings: Findings) -> Confirmation | None:
    """The confirmation of the study, from its storage; None when there is none or it is not over."""
    runs = read(settings)
    return proof.confirmation(runs, findings, settings) if runs else None


def read(settings: Settings) -> Runs | None:
    """The confirmation's runs so far; None when it was never started. Raises UserError for one that it cannot read."""
    if not storage.exists(settings, CONFIRMATION):
        return None
    return runs_of(storage.load_study(settings, CONFIRMATION), settings)


def runs_of(study: optuna.Study, settings: Settings) -> Runs | None:
    """The runs of a study of the confirmation's name; None for a study of another kind. Raises UserError."""
    if not confirms(study.user_attrs, settings):
        return None  # a study of that name, of another tool or of a search
    trials, plan = study.get_trials(deepcopy=False), plan_of(study.user_attrs)
    if plan is None and not trials and "plan" not in study.user_attrs:
        return None  # it is being founded
    odd = [str(trial.number) for trial in trials if not is_readable(trial)]
    if plan is None or odd:
        what = f"run {', '.join(odd)} of {study.study_name}" if odd else study.study_name
        raise UserError(
            f"{what} cannot be read by this release of xtts-study; use the release that made it, or another --study"
        )
    return Runs(trials, plan)
