"""The report of a study as one page: the answer, then a section for each kind of evidence.

`material` loads the study, `study_page.html.j2` is the page, and this module hands over what the page cannot compute.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from search.confirmation.proof import rate_line
from search.pages import confirmation_figures, search_figures
from search.pages.answer import answer
from search.pages.dimensions import FEWEST_COMPLETED, FEWEST_JUDGED, dimensions, holding, importance
from search.pages.drawing import picture, small
from search.pages.material import Material
from search.pages.next_steps import safe_place
from search.pages.page import render
from search.pages.sound import Sound, sound
from search.settings.settings import safe_url
from search.show import confirmation_tables, tables
from search.show.styles import Table
from search.sources import commit
from search.study.findings import Findings

BEST = 50  # trials, or configs that spoke, in a table
NEAR = 5  # best trials whose parameters are checked for the edges of ranges
DROPPED = 30  # clips that are named
FEWEST_FOR_SLICES = 6  # trials


def to_html(material: Material, options: str) -> str:
    """The page. It needs no other file, no network and no script; everything that comes from the data is escaped."""
    heard, found = sound(material), material.confirmation
    return render(
        Path(__file__).with_name("study_page.html.j2"),
        material=material,
        findings=material.findings,
        found=found,
        fingerprint=material.attributes["fingerprint"],
        answer=answer(material, options),
        sound=heard,
        quality=_quality(heard),
        line=found.rate_line if found else rate_line(material.runs) if material.runs else None,
        ranked=confirmation_tables.ranked(material.runs) if material.runs else None,
        best=tables.trials("The best trials", material.findings.completed[:BEST], material.space),
        origin=_origin(material),
        edges=_edges(material),
        saved=_saved(material.findings),
        search_figures=search_figures,
        picture=picture,
        confirmation_figures=confirmation_figures,
        tables=tables,
        confirmation_tables=confirmation_tables,
        dropped=DROPPED,
        most=search_figures.SLICE,
        **_dimensions(material),
    )


def _quality(heard: Sound) -> Table:
    """The table of what spoke."""
    names = ["similarity", "recorded_similarity", *(["cer", "recorded_cer"] if heard.recognisers else [])]
    words = [name.replace("cer", "CER").replace("recorded_", "recording's ") for name in names]
    header = ["means over the sentences of", *words, "did not stop by themselves"]
    rows = []
    for each in heard.quality[:BEST]:
        means = ["-" if (mean := each.mean(name)) is None else f"{mean:.2f}" for name in names]
        rows.append([each.who, *means, f"{sum(s.cut for s in each.sentences)} of {len(each.sentences)}"])
    return Table("Quality", header, rows, range(1, len(header)))


def _dimensions(material: Material) -> dict[str, Any]:
    """Which dimensions matter, each of them, and the two most important ones together."""
    known = dimensions(material.judged)
    drawn = (
        [each for each in known if holding(each, material.judged)] if len(material.judged) >= FEWEST_FOR_SLICES else []
    )
    found = importance(material.judged, [dimension.name for dimension in known])
    return {
        "known": known,
        "importance": found,
        "fewest": (FEWEST_JUDGED, FEWEST_COMPLETED),
        "slices": [(each.title, small(search_figures.against(material, each))) for each in drawn],
    }


def _edges(material: Material) -> list[str]:
    """Where the best trial, or most of the best, lie at the end of a range."""
    near = material.findings.completed[:NEAR]
    if not near:
        return []
    first, *rest = [{text.split()[0] for text in material.space.at_edge(row.trial.params)} for row in near]
    at = Counter(name for names in (first, *rest) for name in names)
    lines = [
        f"{name}: {count} of the {len(near)} best trials lie at an edge of its range, though not the best one."
        for name, count in at.items()
        if name not in first and 2 * count > len(near)
    ]
    return [*tables.edges(near[0], material.space), *lines] or ["The best trial lies at no edge of a range."]


def _origin(material: Material) -> list[tuple[str, str]]:
    """Enough to make the study again, and nothing secret."""
    findings, settings = material.findings, material.settings
    hosts = Counter(row.host for row in findings.rows if row.host)
    first = min((row.trial.datetime_start for row in findings.rows if row.trial.datetime_start), default=None)
    last = max((row.trial.datetime_complete for row in findings.rows if row.trial.datetime_complete), default=None)
    evaluations = dict(material.attributes["fingerprint"]).get("evaluations", "?")
    return [
        ("study", findings.study),
        ("storage", safe_url(settings.storage_url)),
        ("sound", safe_place(settings.study.artifacts or str(settings.directory / "artifacts"))),
        ("first trial started", f"{first:%Y-%m-%d %H:%M}" if first else "-"),
        ("last trial ended", f"{last:%Y-%m-%d %H:%M}" if last else "-"),
        ("hosts", ", ".join(f"{host} ({count:,} trials)" for host, count in hosts.most_common(20)) or "-"),
        ("trial", f"{findings.horizon:,} optimizer steps, {evaluations} evaluations"),
        ("full run", f"{material.full_horizon:,} optimizer steps"),
        ("commit of this report", commit() or "unknown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in findings.prepared["versions"].items())),
    ]


def _saved(findings: Findings) -> Table:
    """By what stopped the trials."""
    rows = [
        (kind.label, f"{len(of):,}", f"{sum(r.steps for r in of):,}", f"{sum(map(findings.saved, of)):,}")
        for kind, of in search_figures.by_kind(findings.judged)
    ]
    return Table("What pruning saved", ("stopped by", "trials", "steps trained", "steps saved"), rows, (1, 2, 3))
