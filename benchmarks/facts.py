"""What the recorded curves say by themselves: `python -m benchmarks.facts`, tables of docs/experiments.md."""

import itertools
import math
import statistics
from pathlib import Path

import click

from benchmarks.curves.corpora import CORPORA, EVALUATIONS, FULL, SEEDS, SHARES
from benchmarks.curves.table import HERE, Table, read
from benchmarks.replay.world import features, seed_deviation, truths
from benchmarks.two_increases import show_two_increases

BINS = [4e-5 * (1e-2 / 4e-5) ** (i / 8) for i in range(9)]  # of the learning rate


def lowest(table: Table, share: float) -> list[float]:
    """By config, of the first seed; infinite where the run diverged."""
    found = [table.curves[config, SEEDS[0], share] for config in range(table.design)]
    return [min(curve) if len(curve) == EVALUATIONS[share] else math.inf for curve in found]


def show_corpora(tables: list[Table]) -> None:
    print("| corpus | base | stock recipe | best config | deviation between seeds | wrong by the nearest config |")
    print("|---" * 6 + "|")
    for table in tables:
        true = truths(table)
        print(
            f"| {table.corpus} | {table.base:.4f} | {true[0]:.4f} | {min(true):.4f} | {seed_deviation(table):.4f}"
            f" | {neighbour_error(table):.4f} |"
        )


def neighbour_error(table: Table) -> float:
    """The median error of the better half's quality when each is foretold by its nearest neighbour."""
    true, places = truths(table), [features(point) for point in table.points]
    errors = []
    for i, place in enumerate(places):
        if true[i] <= statistics.median(true):
            nearest = min(
                (j for j in range(len(places)) if j != i), key=lambda j: float(((places[j] - place) ** 2).sum())
            )
            errors.append(abs(true[nearest] - true[i]))
    return statistics.median(errors)


def show_fidelity(tables: list[Table]) -> None:
    """How short runs rank, and which learning rate is best in them: the mean of the three best of each eighth."""
    from scipy.stats import kendalltau

    print(
        "\n| corpus | share of the run | Kendall's tau | truth of its best, in deviations above the best | best rate |"
    )
    print("|---" * 5 + "|")
    for table in tables:
        true, deviation = truths(table)[: table.design], seed_deviation(table)
        for share in (*SHARES, FULL):
            values = lowest(table, share)
            best = sorted(range(len(values)), key=values.__getitem__)[0]
            regret = (true[best] - min(true)) / deviation
            print(
                f"| {table.corpus} | {share:g} | {kendalltau(values, true)[0]:.2f} | {regret:.1f}"
                f" | {best_rate(table, values):.1e} |"
            )


def best_rate(table: Table, values: list[float]) -> float:
    """The middle of the eighth of the range whose three best configs are lowest."""
    binned, designed = [], table.points[: table.design]
    for low, high in itertools.pairwise(BINS):
        inside = sorted(v for v, point in zip(values, designed, strict=True) if low <= point.lr < high)
        binned.append((statistics.fmean(inside[:3]), math.sqrt(low * high)))
    return min(binned)[1]


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, exists=True), default=HERE, help="Tables of curves.")
def main(folder: Path) -> None:
    tables = [read(corpus, folder) for corpus in CORPORA if (folder / f"{corpus}.csv").exists()]
    show_corpora(tables)
    show_fidelity(tables)
    show_two_increases(tables)


if __name__ == "__main__":
    main()
