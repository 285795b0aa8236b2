"""The notes of a search and of its confirmation in Optuna's dashboard, in Markdown."""

from search.pages.answer import answer
from search.pages.markdown import render
from search.pages.material import Material
from search.show.tables import why_cut_short
from search.study import recorded
from search.text import duration

SHOWN = 10  # clips and warnings that the check found


def search_note(material: Material) -> str:
    """The answer so far and what to do next, as a report has them, then the data, and what the check found."""
    prepared = recorded.prepared(material.findings.prepared)
    assert prepared
    dropped = [f"{file}: {reason}" for file, reason in prepared.dropped]
    return render(
        "study_note.md.j2",
        answer=answer(material, ""),
        material=material,
        findings=material.findings,
        prepared=prepared,
        found=((f"Clips left out, {len(dropped)}", dropped), ("The check warns", prepared.warnings)),
        shown=SHOWN,
        why_cut_short=why_cut_short,
        duration=duration,
    )


def confirmation_note(material: Material) -> str:
    """The result of the full runs, or how many of them have ended."""
    from search.show import confirmation_tables  # scipy, which only a confirmation needs

    return render("confirmation_note.md.j2", material=material, found=material.confirmation, words=confirmation_tables)
