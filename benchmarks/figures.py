"""The committed figures of the benchmarks, and how a new run compares: ratios, since no two machines are alike.

Every benchmark ends with `show`. `--record` writes what was found into `figures.json`, which is committed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from search.files import write_text

FILE = Path(__file__).with_name("figures.json")


def show(benchmark: str, found: Mapping[str, float], record: bool = False) -> None:
    """Prints each figure of `found`, by a name that tells its unit, beside the committed one, and their ratio.

    `benchmark` names the form, too, as in "scale --short": short and full forms are not compared.
    """
    committed = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    known = committed.get(benchmark, {})
    width = max(map(len, found), default=0)
    print(f"{benchmark}: {'figure':<{width}}  {'now':>10}  {'committed':>10}  ratio")
    for name, value in found.items():
        before = known.get(name)
        ratio = f"{value / before:.2f}" if before else "-"
        print(f"{benchmark}: {name:<{width}}  {value:>10.4g}  {before if before is not None else '-':>10}  {ratio}")
    if record:
        committed[benchmark] = {name: float(f"{value:.4g}") for name, value in found.items()}
        write_text(FILE, json.dumps(dict(sorted(committed.items())), indent=2) + "\n")
