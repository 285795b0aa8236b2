"""The recorded curves as they are committed: a CSV file a corpus, and where they come from.

    python -m benchmarks.curves.table FOLDER      # packs what record.py left in FOLDER/<corpus>/ beside this file

A row is a run: `config,seed,share,evaluations`. The evaluations are mean mel cross-entropies in nats per audio token at
the steps that `benchmarks.curves.record.steps_of(share)` tells, shorter where the run diverged. `configs.json` has the
configs in their order, `provenance.json` what each recording was prepared from and with. Rows that are there already
are kept.
"""

import csv
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.curves.corpora import CONFIGS, CORPORA, EVALUATIONS, FULL, VARIANTS
from search.files import write_text
from search.sources import commit
from search.trial import Prepared
from space.hyperparameters import Hyperparameters

HERE = Path(__file__).parent
Key = tuple[int, int, float]  # config, seed, share


@dataclass(frozen=True)
class Table:
    """The curves of one corpus: of a design of configs, and behind it of constant rates, in full alone."""

    corpus: str
    points: list[Hyperparameters]
    base: float  # the untouched base's evaluation
    curves: Mapping[Key, list[float]]
    design: int  # so many of the points

    def seeds_of(self, config: int) -> list[int]:
        """Of its full runs."""
        return sorted(seed for number, seed, share in self.curves if number == config and share == FULL)


def read(corpus: str, folder: Path = HERE) -> Table:
    points = [Hyperparameters(**p) for p in json.loads((folder / "configs.json").read_text(encoding="utf-8"))]
    rows = _rows(corpus, folder)
    recorded = sorted({config for config, _, share in rows if share == FULL})
    index = {config: i for i, config in enumerate(recorded)}
    curves = {(index[c], seed, share): list(map(float, v.split())) for (c, seed, share), v in rows.items()}
    base = _provenance(folder)[corpus][0]["base_evaluation"]["mel_ce"]
    design = sum(config < CONFIGS for config in recorded)
    return Table(corpus, [points[config] for config in recorded], base, curves, design)


def _rows(corpus: str, folder: Path) -> dict[Key, str]:
    """The evaluations as they are written, by run; empty where there is no table."""
    path = folder / f"{corpus}.csv"
    if not path.exists():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {(int(r["config"]), int(r["seed"]), float(r["share"])): r["evaluations"] for r in rows}


def _provenance(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By corpus, its recordings."""
    path = folder / "provenance.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def pack(source: Path, target: Path = HERE) -> None:
    """Adds the runs below `source` to the tables of their corpora."""
    provenance = _provenance(target)
    path = target / "configs.json"
    points = dict(enumerate(json.loads(path.read_text(encoding="utf-8")))) if path.exists() else {}
    for corpus in {**CORPORA, **VARIANTS}.values():
        files = sorted((source / corpus.name / "runs").glob("*.json"))
        if not files:
            continue
        rows, before = _rows(corpus.name, target), provenance.get(corpus.name, [])
        found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        added = {
            (run["config"], run["seed"], float(share)): " ".join(f"{v:.5f}" for v in curve)
            for run in found
            for share, curve in run["curves"].items()
        }
        if not added.keys() - rows.keys():
            continue
        prepared = Prepared.from_json((source / corpus.name / "prepared.json").read_text(encoding="utf-8"))
        fingerprints = {name: getattr(prepared, name) for name in ("data_fingerprint", "base_fingerprint")}
        if any(entry[name] != value for entry in before for name, value in fingerprints.items()):
            sys.exit(f"{corpus.name}: the runs in {source} are of other data or of another base than its table")
        lines = [f"{c},{seed},{share:g},{curve}" for (c, seed, share), curve in sorted((added | rows).items())]
        write_text(target / f"{corpus.name}.csv", "\n".join(["config,seed,share,evaluations", *lines, ""]))
        points |= {run["config"]: run["point"] for run in found}
        new = [run for run in found if any((run["config"], run["seed"], float(s)) not in rows for s in run["curves"])]
        names = ("train_clips", "eval_clips", "train_seconds", "eval_seconds", "base_evaluation")
        entry = {
            "runs": len(new),
            "hours": round(sum(run["seconds"] for run in new) / 3600, 2),
            "full_steps": corpus.steps,
            "batch_size": corpus.batch_size,
            "evaluations": {f"{share:g}": EVALUATIONS[share] for share in sorted({share for *_, share in added})},
            **{name: getattr(prepared, name) for name in names},
            **fingerprints,
            "versions": prepared.versions,
            "machine": platform.machine(),
            "packed_at_commit": commit(),
        }
        provenance[corpus.name] = [*before, entry]
    write_text(path, _lines([points[number] for number in sorted(points)]))
    write_text(target / "provenance.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")


def _lines(values: list[Any]) -> str:
    """JSON with a line an entry, so that a diff shows which changed."""
    return "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]\n"


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
