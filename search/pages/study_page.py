"""The report as one page."""

import time
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from search.pages import confirmation_figures, dimension_figures, document, proven, search_figures, searched
from search.pages.answer import Answer
from search.pages.dimensions import dimensions
from search.pages.importance import FEWEST_COMPLETED, FEWEST_JUDGED, importance
from search.pages.material import Material
from search.pages.page import render
from search.pages.search_figures import Picture
from search.pages.sound import sound

FEWEST_FOR_SLICES = 6  # trials


def to_html(material: Material, options: str) -> str:
    """The page. It needs no other file, no network and no script; everything that comes from the data is escaped."""
    known = dimensions(material.judged)
    found = importance(material.judged, [dimension.name for dimension in known])
    two = found and dimension_figures.best_two(material, list(found.shares), known)
    stock = material.settings.stock_recipe().name
    confirmation, runs = material.confirmation, material.runs
    fit = runs.race().fit if runs and confirmation else None
    slices = dimension_figures.slices(material, known) if len(material.judged) >= FEWEST_FOR_SLICES else []
    said, heard = answer(material, options), sound(material)
    sections = (
        ("confirmation", "Confirmation", runs),
        ("sound", "Sound", heard.quality or heard.left_out),
        ("history", "History", material.judged),
        ("curves", "Evaluations", material.judged),
        ("importance", "Importance", len(known) > 1),
        ("slices", "Dimensions", slices),
        ("contour", "Two dimensions", two),
        ("boundaries", "Edges", material.best),
        ("pruning", "Pruning", document.savings(material)),
        ("noise", "Seed noise", material.judged),
        ("fidelity", "Short and full runs", confirmation and confirmation.fidelity),
        ("data", "Data", True),
        ("provenance", "Where it came from", True),
    )
    return render(
        Path(__file__).with_name("study_page.html.j2"),
        study=material.findings.study,
        written=time.strftime("%Y-%m-%d %H:%M"),
        m=material,
        d=document,
        answer=said,
        values=escape(said.config.values) if said.config else None,  # numbers, in lines
        history=_picture(search_figures.history(material)) if material.judged else None,
        curves=_picture(search_figures.curves(material)) if material.judged else None,
        importance=found,
        fewest=(FEWEST_JUDGED, FEWEST_COMPLETED),
        bars=_picture(search_figures.importances(found, known)) if found else None,
        known=known,
        slices=[(each, _picture(picture)) for each, picture in slices],
        key=Markup(dimension_figures.key(material)) if slices else None,
        contour=_picture(dimension_figures.contour(material, *two)) if two else None,
        full_runs=_picture(confirmation_figures.runs(confirmation, fit, stock)) if confirmation and fit else None,
        fidelity=_picture(confirmation_figures.fidelity(confirmation, runs)) if confirmation and runs else None,
        sound=heard,
        sections=[(name, title) for name, title, there in sections if there],
    )


def answer(material: Material, options: str) -> Answer:
    """By the confirmation where it is over, else by the best trial so far."""
    if material.confirmation is not None:
        return proven.answer(material, material.confirmation, options)
    return searched.answer(material, options)


def _picture(made: Picture | None) -> dict[str, Any] | None:
    """With its SVG as markup: matplotlib has escaped the text in it."""
    return None if made is None else {"svg": Markup(made.svg), "gist": made.gist, "caption": made.caption}
