"""What a miniature search was expected to cost, and what it took: `python -m benchmarks.forecast`, for docs/budget.md.

    study.py --study forecast --trials 12 --confirm     # first, in the same folder; two slots on a CPU
    python -m benchmarks.forecast forecast

The forecasts are those that the search makes after so many trials.
"""

import argparse
from collections import defaultdict
from dataclasses import replace

from search.confirmation import confirm
from search.confirmation.candidates import Candidate
from search.confirmation.runs import part_of
from search.settings.settings import load
from search.study import findings, recorded, spending, storage
from search.study.findings import Row
from search.study.spending import HOUR
from search.workers.cost import pipeline_costs
from search.workers.outlook import expected_share, forecast

AFTER = (1, 3, 6, 9, 12, 20, 30, 40)  # trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="that was searched and confirmed in this folder")
    settings = load(None, {"study.name": parser.parse_args().study})
    found, runs = findings.read(storage.load_study(settings)), confirm.read(settings)
    prepared = recorded.prepared(found.prepared)
    assert prepared and runs and runs.is_over, "the study has to be confirmed"
    rows = sorted(found.rows, key=lambda row: (row.trial.datetime_complete is None, row.trial.datetime_complete))
    settings = settings.model_copy(update={"study": settings.study.model_copy(update={"trials": found.finished})})
    full: dict[str, list[Row]] = defaultdict(list)
    for row in map(findings.row_of, runs.trials):
        is_audited = Candidate(**row.trial.system_attrs["candidate"]).is_audited
        full[part_of(is_audited, row.trial.user_attrs["seed"], runs.plan.seed)].append(row)
    print("| after trials | part | expected, slot h | taken | ratio | expected, steps | taken | ratio |")
    print("|---" * 8 + "|")
    for count in [count for count in AFTER if count <= found.finished]:
        known, costs = replace(found, rows=rows[:count]), pipeline_costs(settings, prepared, count)
        told = []
        for cost, part in zip(costs, forecast(settings, costs, known, 2, 0.0), strict=True):
            came = rows[count:] if part.name == "search" else full[part.name]
            hours = sum(run.seconds for run in spending.ended(row.trial for row in came)) / HOUR
            steps = expected_share(cost, settings, known) * cost.steps
            told.append((part.name, (part.expected or 0.0) / HOUR, hours, steps, sum(row.steps for row in came)))
        told.append(("all", *(sum(column) for column in list(zip(*told, strict=True))[1:])))
        for name, expected, hours, steps, ran in told:
            times = f"{expected:.3f} | {hours:.3f} | {expected / hours:.2f}"
            print(f"| {count} | {name} | {times} | {steps:,.0f} | {ran:,} | {steps / ran:.2f} |")


if __name__ == "__main__":
    main()
