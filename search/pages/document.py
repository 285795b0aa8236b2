"""The report of a study as one page: the answer, then a section for each kind of evidence.

`material` loads the study, this module arranges the page, `study_page.html.j2` writes it.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.pages import confirmation_figures, search_figures
from search.pages.answer import answer
from search.pages.dimension_figures import SLICE, best_two, slices, together
from search.pages.dimensions import Dimension, dimensions
from search.pages.drawing import Picture
from search.pages.importance import FEWEST_COMPLETED, FEWEST_JUDGED, Importance, importance
from search.pages.marks import by_kind
from search.pages.material import Material
from search.pages.next_steps import safe_place
from search.pages.page import render
from search.pages.sound import Sound, sound
from search.settings.settings import safe_url
from search.show import confirmation_tables, tables
from search.sources import commit
from search.text import duration

BEST = 50  # trials, or configs that spoke, in a table
NEAR = 5  # best trials whose parameters are checked for the edges of ranges
DROPPED = 30  # clips that are named
FEWEST_FOR_SLICES = 6  # trials


@dataclass(frozen=True)
class Table:
    """Cells are text; the columns of `numbers`, by place, are set to the right. Without a `header` it has pairs."""

    name: str
    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()
    numbers: Sequence[int] = ()
    is_folded: bool = False  # under its name


@dataclass(frozen=True)
class Section:
    """Its pictures, then its lines, its sound and its tables."""

    id: str
    title: str
    lines: Sequence[str] = ()
    pictures: Sequence[tuple[str, Picture]] = ()
    tables: Sequence[Table] = ()
    is_small: bool = False  # pictures: several side by side
    sound: Sound | None = None


def to_html(material: Material, options: str) -> str:
    """The page. It needs no other file, no network and no script; everything that comes from the data is escaped."""
    findings = material.findings
    unread = sum(bool(row.unread) for row in findings.rows)
    standing = [f"{line.removesuffix('.')}." for line in tables.counts(findings)]
    standing += [f"{material.running:,} running."] if material.running else []
    standing += [f"This release cannot read a part of {unread:,} of them."] if unread else []
    return render(
        Path(__file__).with_name("study_page.html.j2"),
        study=findings.study,
        written=time.strftime("%Y-%m-%d %H:%M"),
        standing=" ".join(standing),
        steps=(findings.horizon, material.full_horizon),
        differing=material.differing,
        answer=answer(material, options),
        sections=list(_sections(material)),
    )


def _sections(material: Material) -> Iterator[Section]:
    if material.runs:
        yield _confirmation(material)
    heard = sound(material)
    if heard.quality or heard.left_out:
        yield _sound(heard)
    if material.judged:
        yield _history(material)
        pictures = [("Evaluations", search_figures.curves(material))]
        yield Section("curves", "Evaluations of all trials", pictures=pictures)
    yield from _dimensions(material)
    if material.best:
        yield _edges(material)
    if material.findings.steps[1]:
        yield _pruning(material)
    if material.judged:
        yield _noise(material)
    if material.runs and material.confirmation and material.confirmation.fidelity:
        picture = confirmation_figures.fidelity(material.runs)
        lines = confirmation_tables.fidelity(material.confirmation.fidelity)
        shown = [("Short against full runs", picture)] if picture else []
        yield Section("fidelity", "Short runs against full ones", lines, shown)
    yield _data(material)
    yield _provenance(material)


def _confirmation(material: Material) -> Section:
    found, fit, columns = material.confirmation, material.fit, confirmation_tables.COLUMNS
    if found is None or fit is None:
        assert material.runs is not None
        lines = [confirmation_tables.progress(material.runs), "It proves nothing before it is over."]
        return Section("confirmation", "Confirmation", lines)
    picture = confirmation_figures.runs(found, fit)
    rows = [list(confirmation_tables.cells(c, found).values()) for c in confirmation_tables.ordered(found)]
    numbers = [place for place, name in enumerate(columns) if name in confirmation_tables.NUMBERS]
    shown = [("Full runs of the confirmation", picture)] if picture else []
    table = Table("Confirmation", rows, columns, numbers)
    return Section("confirmation", "Confirmation", confirmation_tables.method(found), shown, [table])


def _sound(heard: Sound) -> Section:
    names = ["similarity", "recorded_similarity", *(["cer", "recorded_cer"] if heard.recognisers else [])]
    words = [name.replace("cer", "CER").replace("recorded_", "recording's ") for name in names]
    header = ["means over the sentences of", *words, "did not stop by themselves"]
    rows = []
    for each in heard.quality[:BEST]:
        means = [each.mean(name) for name in names]
        cut = sum(sentence.cut for sentence in each.sentences)
        numbers = ["-" if mean is None else f"{mean:.2f}" for mean in means]
        rows.append([each.who, *numbers, f"{cut} of {len(each.sentences)}"])
    errors = "There is no character error rate: no recogniser listened (speech.recogniser)."
    if heard.recognisers:
        errors = f"CER is the character error rate of {heard.recognisers}, 0 is none."
    lines = [
        "Sentences of the eval set, spoken with the weights of a run's best evaluation. They have no part in the"
        " ranking.",
        *_silent(heard.left_out),
        "Similarity is the cosine of XTTS's own speaker embeddings to the reference clip, 1 is the same voice."
        f" {errors} The figures of the real recording are the best that a model can reach.",
    ]
    table = Table("Quality", rows, header, range(1, len(header)))
    return Section("sound", "Sound and quality", lines, tables=[table], sound=heard)


def _silent(count: int) -> list[str]:
    """What the budget of speech left out."""
    if not count:
        return []
    trials = f"{count} trial was" if count == 1 else f"{count} trials were"
    return [f"{trials} good enough to be heard but stayed silent: speech.share left no time."]


def _history(material: Material) -> Section:
    findings = material.findings
    unseen = sum(row.best is None for row in findings.judged)
    lines = [f"{unseen:,} finished without a finite evaluation and are in no figure."] if unseen else []
    rows = [tables.cells(row, material.space) for row in findings.completed[:BEST]]
    name = f"The best {len(rows):,} of {len(findings.completed):,} completed trials"
    best = Table(name, rows, tables.COLUMNS, range(tables.NUMBERS), is_folded=True)
    pictures = [("Search history", search_figures.history(material))]
    return Section("history", "Search history", lines, pictures, [best] if rows else [])


def _dimensions(material: Material) -> Iterator[Section]:
    """Which dimensions matter, each of them, and the two most important ones together."""
    known = dimensions(material.judged)
    found = importance(material.judged, [dimension.name for dimension in known])
    if len(known) > 1:
        yield _importance(material, known, found)
    small = slices(material, known) if len(material.judged) >= FEWEST_FOR_SLICES else []
    if small:
        lines = [
            "Marks are those of the search history; the circle is the best trial. Some dimensions exist only with a"
            " milestone, or with the clip on. All were varied together, so a pattern in one may come from another."
        ]
        if len(material.judged) > SLICE:
            lines.append(f"At most {SLICE} trials are drawn, the best 60 among them.")
        pictures = [(dimension.title, picture) for dimension, picture in small]
        yield Section("slices", "Each dimension", lines, pictures, is_small=True)
    two = best_two(material, list(found.shares), known) if found else None
    if two:
        title = "Two dimensions together"
        lines = ["The two most important continuous dimensions."]
        yield Section("together", title, lines, [(title, together(material, *two))])


def _importance(material: Material, known: Sequence[Dimension], found: Importance | None) -> Section:
    title = "Importance of the dimensions"
    if found is None:
        line = (
            f"Too few trials to say which dimension matters: it takes {FEWEST_JUDGED} finished and {FEWEST_COMPLETED}"
            f" completed ones; there are {len(material.judged)} and {len(material.findings.completed)}."
        )
        return Section("importance", title, [line])
    lines = [
        f"A bar shows how differently the best {found.best} of {found.judged} finished trials lie in a dimension than"
        " all trials do (PED-ANOVA). Pruned trials are not among the best. A bar beyond its orange mark is more than"
        " chance. The direction is in the figures below. What a search hardly varied looks unimportant."
    ]
    if not found.told:
        lines.append("No bar is more than chance: so few trials do not show which dimension matters.")
    return Section("importance", title, lines, [(title, search_figures.importances(found, known))])


def _edges(material: Material) -> Section:
    """Where the best trial, or most of the best, lie at the end of a range."""
    near = material.findings.completed[:NEAR]
    lines = tables.edges(near[0], material.space)
    first, *rest = [{text.split()[0] for text in material.space.at_edge(row.trial.params)} for row in near]
    at = Counter(name for names in (first, *rest) for name in names)
    lines += [
        f"{name}: {count} of the {len(near)} best trials lie at an edge of its range, though not the best one."
        for name, count in at.items()
        if name not in first and 2 * count > len(near)
    ]
    return Section("edges", "Edges of the ranges", lines or ["The best trial lies at no edge of a range."])


def _pruning(material: Material) -> Section:
    findings, found = material.findings, material.confirmation
    lines = [f"{line}." for line in tables.pruning(findings)]
    records = [row.record for row in findings.rows if row.record]
    train, evaluation = (sum(r[name] for r in records) for name in ("train_seconds", "evaluation_seconds"))
    lines.append(f"Training took {duration(train)}, evaluation {duration(evaluation)}, summed over the slots.")
    rows = [
        [kind.label, f"{len(of):,}", f"{sum(row.steps for row in of):,}", f"{sum(map(findings.saved, of)):,}"]
        for kind, of in by_kind(findings.judged)
    ]
    table = Table("What pruning saved", rows, ["stopped by", "trials", "steps trained", "steps saved"], (1, 2, 3))
    audit = confirmation_tables.audit(found.audit, found.seed_sd) if found else []
    title = "What pruning saved" + (", and what it lost" if audit else "")
    return Section("pruning", title, [*lines, *audit], tables=[table])


def _noise(material: Material) -> Section:
    lines = tables.noise(material.findings)
    lines += confirmation_tables.noise(material.confirmation) if material.confirmation else []
    missing = (
        "Not measured: no config ran with two seeds. A search measures it with --repeats 2, a confirmation always."
    )
    return Section("noise", "Seed noise", lines or [missing])


def _data(material: Material) -> Section:
    prepared = material.findings.prepared
    dropped = prepared["dropped"]
    facts = [
        ("training", f"{prepared['train_clips']:,} clips, {duration(prepared['train_seconds'])}"),
        ("evaluation", f"{prepared['eval_clips']:,} clips, {duration(prepared['eval_seconds'])}"),
        ("left out", f"{len(dropped):,} clips that cannot be trained on"),
        ("added to the vocabulary", f"{len(prepared['added_tokens'])} tokens"),
    ]
    found = [Table("Data", facts)]
    if dropped:
        named = [list(map(str, each)) for each in dropped[:DROPPED]]
        found.append(Table(f"{len(named)} of {len(dropped)} clips left out", named, ["clip", "why"], is_folded=True))
    warnings = [f"Warning: {line}" for line in prepared.get("warnings", [])]
    return Section("data", "Data", warnings or ["The check of the data had no warning."], tables=found)


def _provenance(material: Material) -> Section:
    """Enough to make the study again, and nothing secret."""
    findings, settings = material.findings, material.settings
    hosts = Counter(row.host for row in findings.rows if row.host)
    first = min((row.trial.datetime_start for row in findings.rows if row.trial.datetime_start), default=None)
    last = max((row.trial.datetime_complete for row in findings.rows if row.trial.datetime_complete), default=None)
    fingerprint = dict(material.attributes["fingerprint"])
    origin = [
        ("study", findings.study),
        ("storage", safe_url(settings.storage_url)),
        ("sound", safe_place(settings.study.artifacts or str(settings.directory / "artifacts"))),
        ("first trial started", f"{first:%Y-%m-%d %H:%M}" if first else "-"),
        ("last trial ended", f"{last:%Y-%m-%d %H:%M}" if last else "-"),
        ("hosts", ", ".join(f"{host} ({count:,} trials)" for host, count in hosts.most_common(20)) or "-"),
        ("trial", f"{findings.horizon:,} optimizer steps, {fingerprint.get('evaluations', '?')} evaluations"),
        ("full run", f"{material.full_horizon:,} optimizer steps"),
        ("commit of this report", commit() or "unknown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in findings.prepared["versions"].items())),
    ]
    shared = [(name, str(value)) for name, value in fingerprint.items()]
    name = "Fingerprint: what all trials of the study share"
    found = [Table("Origin", origin), Table(name, shared, is_folded=True)]
    return Section("provenance", "Where it came from", tables=found)
