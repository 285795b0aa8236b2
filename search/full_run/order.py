"""What a full run is to train, where, and whether it may: checked before anything runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import lock
from search.full_run.display import FullRunView
from search.full_run.result import FullResult
from search.settings.best_config import BestConfig, Stopping, read
from search.settings.knobs import refuse_point
from search.settings.settings import Settings, resolve
from search.study.fingerprint import differences, fingerprint
from search.trial import Prepared, TrialSpec

OVERRIDABLE = (
    "data", "base", "train", "study.stall_minutes", "training.precision", "training.fused_adamw",
    "training.pin_memory", "training.eval_batch_size",
)  # fmt: skip
# Of the fingerprint: what the run must have in common with the search.
INPUTS = ("data", "training clips", "eval clips", "base", "conditioning_seconds", "seed")


@dataclass(frozen=True)
class Order:
    """What is to be trained, and where."""

    best: BestConfig
    settings: Settings
    stopping: Stopping
    seed: int
    directory: Path

    def spec(self, prepared: str, device: str | None) -> TrialSpec:
        """As the confirmation's, but for the state that it keeps."""
        schedule = self.best.schedule
        return TrialSpec.under(
            self.settings.training,
            study=self.best.study,
            number=0,
            hyperparameters=self.best.hyperparameters,
            seed=self.seed,
            horizon=schedule.horizon,
            evaluation_steps=schedule.evaluation_steps,
            batch_size=schedule.batch_size,
            accumulation=schedule.accumulation,
            prepared=prepared,
            directory=str(self.directory),
            save_seconds=60 * self.settings.train.save_minutes,
            device=device,
        )


def make_order(
    config: Path, output: Path, seed: int | None, overrides: Mapping[str, Any], min_delta: float | None = None
) -> Order:
    """Reads the config and resolves its settings for this machine. Raises UserError."""
    best = read(config)
    for key in overrides:
        if not any(key == name or key.startswith(f"{name}.") for name in OVERRIDABLE):
            raise UserError(
                f"--set {key}: a full run takes this from {config.name}; what can be set is {', '.join(OVERRIDABLE)}"
            )
    # Point and stopping rules are chosen: the space, which may be a file that this machine lacks, and the rules of
    # trials, of which an earlier release had others, say no more.
    given = {name: section for name, section in best.settings.items() if name not in ("space", "pruning")}
    try:
        settings = resolve(given, overrides, config)
    except UserError as error:
        where = "; give --set data.path=… or --set base.path=… where it lies elsewhere on this machine"
        raise UserError(f"{error}{where if 'not a folder' in str(error) else ''}") from error
    rules = {k: float(v) for k in ("max_gap", "healthy_gap") if (v := overrides.get(f"train.{k}")) is not None}
    if min_delta is not None:
        rules["min_delta"] = min_delta
    stopping = best.stopping.model_copy(update=rules)
    return Order(best, settings, stopping, best.provenance.seed if seed is None else seed, output.absolute())


def finished(order: Order) -> FullResult | None:
    """The result that is there, if the run ended under the same rules."""
    result = FullResult.load(order.directory / "result.json")
    return result if result and result.stopping == order.stopping else None


@contextmanager
def own_folder(order: Order) -> Iterator[None]:
    """The run's folder, for this process alone; the kernel frees it whatever ends the process. Raises UserError."""
    directory = order.directory
    first = {".lock", "best_config.json"}  # that a run writes before its spec.json
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "spec.json").exists() and {p.name for p in directory.iterdir()} - first:
            raise UserError(f"--output {directory} holds files that are not of a full run; name a new folder")
        held = lock(directory / ".lock")
    except BlockingIOError as error:
        raise UserError(f"--output {directory} is being trained in by another process; wait for its end") from error
    except OSError as error:
        raise UserError(f"--output {directory} cannot be written to ({error.strerror}); name another folder") from error
    with held:
        refuse_other(order)
        yield


def refuse_other(order: Order) -> None:
    """Raises UserError when the folder holds the run of another config, seed or data."""
    path = order.directory / "spec.json"
    if not path.exists():
        return
    try:
        there = TrialSpec.from_json(path.read_text(encoding="utf-8"))
        data = read(order.directory / "best_config.json").provenance.fingerprint
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(f"{path} and best_config.json beside it cannot be read: {error}; name a new folder") from error
    # Where the run's inputs lie, on which device it runs, and how batches get there, may change.
    here = order.spec(there.prepared, there.device)
    here = replace(here, directory=there.directory, save_seconds=there.save_seconds, pin_memory=there.pin_memory)
    lines = differences(_comparable(there, data), _comparable(here, order.best.provenance.fingerprint))
    if lines:
        raise UserError(f"--output {order.directory} holds another run; name a new folder, or train that one on", lines)


def _comparable(spec: TrialSpec, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    content = asdict(spec)
    return {**content.pop("hyperparameters"), **content, **{k: fingerprint.get(k) for k in ("data", "base")}}


def verify(order: Order, prepared: Prepared, view: FullRunView) -> None:
    """Raises UserError unless data and base are the search's; other code or libraries are worth a warning."""
    there, here = order.best.provenance.fingerprint, fingerprint(order.settings, prepared)
    if lines := differences({k: there.get(k) for k in INPUTS}, {k: here[k] for k in INPUTS}):
        raise UserError(
            f"study {order.best.study!r} searched on other data, or from another base, than this machine has; name the"
            " right ones by --set data.path=… and --set base.path=…, or search on these",
            lines,
        )
    refuse_point(order.best.hyperparameters, prepared)
    code = {k for k in {**there, **here} if k == "code" or k.startswith("versions.")}
    if lines := differences(*({k: of[k] for k in of if k in code} for of in (there, here))):
        view.note(f"warning: not what the search ran with, so numbers may differ: {'; '.join(lines)}")
