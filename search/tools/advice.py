"""Which checkpoint to take: by its measured eval, or else by the log, and what the others occupy."""

import math

from search.ties import is_lower, lowest, ranked
from search.tools.run_folder import Checkpoint, Report, Run


def advice(report: Report) -> list[str]:
    """Which file to take, beside the base model, and what the others occupy."""
    measured = [c for c in report.checkpoints if c.evaluation and c.evaluation.is_finite]
    if measured:
        return _by_measurement(report, measured)
    return [line for run in report.runs for line in _by_log(report, run)]


def _by_measurement(report: Report, measured: list[Checkpoint]) -> list[str]:
    def mel_ce(checkpoint: Checkpoint) -> float:
        assert checkpoint.evaluation is not None
        return checkpoint.evaluation.mel_ce

    best = ranked(measured, mel_ce)[0]
    base = report.base
    if base and not is_lower(mel_ce(best), base.mel_ce):
        return [
            f"Take none: the untouched base model has eval {base.mel_ce:.4f}, the best of them {mel_ce(best):.4f}"
            f" ({shown(report, best)}).",
            *_occupied(report, None),
        ]
    against = f", {base.mel_ce - mel_ce(best):.4f} below the untouched base model ({base.mel_ce:.4f})" if base else ""
    unknown = "" if base else f" The untouched base model is not measured: {report.base_reason}."
    return [
        f"Take {shown(report, best)}: eval {mel_ce(best):.4f} nats per audio token{against}.{unknown}",
        *_occupied(report, best),
    ]


def _by_log(report: Report, run: Run) -> list[str]:
    """By the lowest logged eval, which one file was written after."""
    if run.evaluations:
        return _by_evaluations(report, run)
    logged = [e for e in run.losses if e.eval is not None and math.isfinite(e.eval)]
    if not logged:
        return []
    best = ranked(logged, lambda e: e.eval or 0.0)[0]
    which = f"epoch {best.epoch}, whose logged eval is the lowest ({best.eval:.4g})"
    if best.micro_steps is None:
        return [f"By the log, take none: {which}, was evaluated before any training in it.", *_occupied(report, None)]
    of_epoch = [c for c in run.checkpoints if c.name == best.best_model] or [
        c for c in run.checkpoints if c.kind == "best" and c.epoch is not None and c.epoch == best.epoch
    ]
    if of_epoch:
        return [f"By the log, take {shown(report, of_epoch[0])}, of {which}.", *_occupied(report, of_epoch[0])]
    gone = " It is not on the disk any more." if run.checkpoints else ""
    name = f" ({best.best_model})" if best.best_model else ""
    return [f"By the log, the checkpoint to take is that of {which}{name}.{gone}"]


def _by_evaluations(report: Report, run: Run) -> list[str]:
    best = lowest(run.evaluations)
    if best is None:
        return []
    file = next((c for c in run.checkpoints if c.kind == "our best"), None)
    which = (
        f"step {best.step}, the lowest of {sum(e.is_finite for e in run.evaluations)} evaluations ({best.mel_ce:.4f})"
    )
    if file:
        return [f"Take {shown(report, file)}, of {which}.", *_occupied(report, file)]
    return [f"The weights to take are those of {which}; no file holds them."]


def _occupied(report: Report, taken: Checkpoint | None) -> list[str]:
    """Bytes that the other files hold; one with several names counts once, and not if it is the one taken."""
    sizes: dict[tuple[int, int], int] = {}
    for checkpoint in report.checkpoints:
        if checkpoint.size:
            status = checkpoint.path.stat()
            sizes[status.st_dev, status.st_ino] = checkpoint.size
    if taken:
        status = taken.path.stat()
        sizes.pop((status.st_dev, status.st_ino), None)
    if not sizes:
        return []
    files = "The other file holds" if len(sizes) == 1 else f"The other {len(sizes)} files hold"
    return [f"{files if taken else files.replace('other ', '')} {gigabytes(sum(sizes.values()))}; nothing is deleted."]


def shown(report: Report, checkpoint: Checkpoint) -> str:
    """The file's path below what was given."""
    return checkpoint.path.relative_to(report.path).as_posix()


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
