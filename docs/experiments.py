"""The figures of docs/experiments.md on the miniature: `make experiments`, some five minutes on one core."""

import io
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from search.preparation.cache import cache_directory
from search.preparation.prepare import prepare
from search.settings.settings import Settings, load
from search.study.pruners import TwoIncreasePruner
from search.training.run import run_trial
from search.trial import Evaluation, Prepared, TrialSpec, evaluation_steps
from space.hyperparameters import Hyperparameters

RATES = (4e-5, 1e-4, 2e-4, 4e-4, 1e-3, 3e-3, 1e-2)


def curve(settings: Settings, prepared: Prepared, lr: float, seed: int) -> list[Evaluation]:
    """The evaluations of an unpruned trial of the miniature, at a constant learning rate."""
    horizon = settings.trial_horizon(prepared.train_clips)
    with tempfile.TemporaryDirectory() as directory:
        spec = TrialSpec.under(
            settings.training,
            study="experiments",
            number=0,
            hyperparameters=Hyperparameters(lr, 0.01),
            seed=seed,
            horizon=horizon,
            evaluation_steps=evaluation_steps(horizon, settings.training.evaluations),
            prepared=prepared.directory,
            directory=directory,
        )
        with redirect_stdout(io.StringIO()):  # coqui's chatter
            return run_trial(spec).evaluations


def main() -> None:
    settings = load(None, {})
    prepared = prepare(settings, cache_directory(), lambda _: None)
    rule = TwoIncreasePruner(start=prepared.base_evaluation["mel_ce"])
    rows = []
    for lr in RATES:
        evaluations = curve(settings, prepared, lr, seed=1)
        values = [e.mel_ce for e in evaluations]
        stop = next((str(e.step) for i, e in enumerate(evaluations, 1) if rule.fires(values[:i])), "-")
        rows.append(f"| {lr:.0e} | " + " | ".join(f"{v:.3f}" for v in values) + f" | {min(values):.4f} | {stop} |")
        steps = [str(e.step) for e in evaluations]
    print("| lr \\ step | " + " | ".join(steps) + " | best | two increases at |")
    print("|---" * (len(steps) + 3) + "|")
    print("\n".join(rows))
    seeds = [min(e.mel_ce for e in curve(settings, prepared, 4e-4, seed)) for seed in (1, 2, 3, 4)]
    print("\nbest evaluation at lr 4e-4 of seeds 1-4: " + ", ".join(f"{v:.4f}" for v in seeds))


if __name__ == "__main__":
    main()
