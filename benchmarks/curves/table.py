"""The recorded curves as they are committed: a CSV file a corpus, and where they come from.

    python -m benchmarks.curves.table FOLDER      # packs what record.py left in FOLDER/<corpus>/ beside this file

A row is a run: `config,seed,share,evaluations`. The evaluations are mean mel cross-entropies in nats per audio token at
the steps that `benchmarks.curves.record.steps_of(share)` tells, shorter where the run diverged. `configs.json` has the
configs in their order, `provenance.json` what the runs were prepared from and with.
"""

import csv
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.curves.corpora import CORPORA, EVALUATIONS, FULL, STEPS
from search.files import write_text
from search.sources import commit
from search.trial import Prepared
from space.hyperparameters import Hyperparameters

HERE = Path(__file__).parent
Key = tuple[int, int, float]  # config, seed, share


@dataclass(frozen=True)
class Table:
    """The curves of one corpus."""

    corpus: str
    points: list[Hyperparameters]
    base: float  # the untouched base's evaluation
    curves: Mapping[Key, list[float]]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for _, seed, _ in self.curves})


def read(corpus: str, folder: Path = HERE) -> Table:
    points = [Hyperparameters(**p) for p in json.loads((folder / "configs.json").read_text(encoding="utf-8"))]
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))[corpus]
    curves = {}
    with open(folder / f"{corpus}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = int(row["config"]), int(row["seed"]), float(row["share"])
            curves[key] = [float(value) for value in row["evaluations"].split()]
    return Table(corpus, points, provenance["base_evaluation"]["mel_ce"], curves)


def pack(source: Path, target: Path = HERE) -> None:
    """Writes the tables of every corpus that `source` has runs of."""
    provenance: dict[str, Any] = {}
    for corpus in CORPORA:
        runs = [json.loads(f.read_text(encoding="utf-8")) for f in sorted((source / corpus / "runs").glob("*.json"))]
        if not runs:
            continue
        rows = [
            f"{run['config']},{run['seed']},{float(share):g}," + " ".join(f"{v:.5f}" for v in run["curves"][share])
            for run in sorted(runs, key=lambda run: (run["config"], run["seed"]))
            for share in sorted(run["curves"], key=float)
        ]
        write_text(target / f"{corpus}.csv", "\n".join(["config,seed,share,evaluations", *rows, ""]))
        points = {run["config"]: run["point"] for run in runs}
        write_text(target / "configs.json", _lines([points[number] for number in sorted(points)]))
        prepared = Prepared.from_json((source / corpus / "prepared.json").read_text(encoding="utf-8"))
        provenance[corpus] = {
            "runs": len(runs),
            "cpu_hours": round(sum(run["seconds"] for run in runs) / 3600, 2),
            "full_steps": STEPS,
            "evaluations": {f"{share:g}": count for share, count in EVALUATIONS.items() if share <= FULL},
            **{
                name: getattr(prepared, name)
                for name in (
                    "train_clips",
                    "eval_clips",
                    "train_seconds",
                    "eval_seconds",
                    "base_evaluation",
                    "data_fingerprint",
                    "base_fingerprint",
                    "versions",
                )
            },
            "machine": platform.machine(),
            "packed_at_commit": commit(),
        }
    write_text(target / "provenance.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")


def _lines(values: list[Any]) -> str:
    """JSON with a line an entry, so that a diff shows which changed."""
    return "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]\n"


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
