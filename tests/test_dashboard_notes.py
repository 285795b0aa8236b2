"""The note of a trial: its sentences, and that no text breaks out of them."""

import math
from dataclasses import asdict
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from search.pages.markdown import escape
from search.pages.material import Material
from search.pages.notes import trial_note
from search.settings.settings import load
from search.study.findings import Findings, Row
from search.study.recorded import by_kind
from search.trial import Evaluation, StopReason
from space.hyperparameters import Hyperparameters
from tests.markdown import LINKED, read, tokens
from tests.shown import HOSTILE
from tests.studies import BASE, evaluations, record

PLAIN = {"paragraph_open", "paragraph_close", "inline", "bullet_list_open", "bullet_list_close", "list_item_open"}
PLAIN |= {"list_item_close", "text", "text_special", "code_inline"}
POINT = Hyperparameters(lr=4e-4, weight_decay=0.02, milestones=(1 / 3, 2 / 3), gamma=0.5, clip_norm=1.0)


TEXTS = [
    HOSTILE,
    "a|b \\| c\\",
    "*bold* _thin_ ~~gone~~ `code` ``more`` $x^2$",
    "1. first",
    "- item",
    "# head",
    "> quoted",
    "[x] done [^1] [a][b] <https://x.org>",
    "see https://evil.example/x?a=b and www.evil.example, WWW.EVIL.EXAMPLE, HTTP://x",
    "me@evil.example @@ a`@`b ://www.@x",
    "&lt;b&gt; &#60; &amp;",
    "===",
    "| a |",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_shown_letter_by_letter(text: str) -> None:
    for markdown in (escape(text), f"* {escape(text)}", f"Error: {escape(text)}"):
        found = tokens(markdown)
        assert read(markdown).endswith(text)
        assert {t.type for t in found} <= PLAIN
        assert sum(t.type == "list_item_open" for t in found) == markdown.startswith("* ")
        assert not any(LINKED.search(t.content) for t in found if t.type.startswith("text"))
    cells = [t for t in tokens(f"| config | mean |\n|:--|--:|\n| {escape(text)} | 2.5 |") if t.type == "inline"]
    assert ["".join(c.content for c in cell.children or []) for cell in cells] == ["config", "mean", text, "2.5"]


def test_a_text_is_one_line_without_marks_of_direction_and_not_endless() -> None:
    assert read(escape("one\n\n    two\t three\x1b[31m \u202eback")) == "one two three�[31m �back"
    for same in ("ک\u200cی", "ሰላም ለዓለም 2.5, (a)", "2.5 nats"):  # Persian needs joiners; a note can be read as text, too
        assert escape(same) == same
    assert escape("\ud800") == "�"
    assert len(escape("x" * 10_000)) == 300 and escape("x" * 10_000).endswith("…")


def row(
    losses: list[float],
    reason: str | None = "finished",
    state: TrialState = TrialState.COMPLETE,
    measured: dict[str, Any] | None = None,
    error: str | None = None,
    **attributes: Any,
) -> Row:
    """Of trial 7: one that has ended has its evaluations in an attribute, one that runs has reported values."""
    found = evaluations(losses)
    if state.is_finished():
        run = {"evaluations": [asdict(e) for e in found], "record": measured, "error": error}
        attributes = {"stop_reason": reason, "run": run, **attributes}
    finite = [loss for loss in losses if math.isfinite(loss)]
    trial = create_trial(
        state=state,
        value=min(finite) if state == TrialState.COMPLETE else None,
        **by_kind(attributes),
        intermediate_values={e.step: e.mel_ce for e in found},
    )
    trial.number = 7
    return Row(trial, found if state.is_finished() else [], measured)


def stock_of(number: int) -> Row:
    made = Row(create_trial(value=3.5), [Evaluation(60, 3.5, 2.1, 2.8, 2.0)], None)
    made.trial.number = number
    return made


def note(of: Row, point: Hyperparameters | None = POINT, rises: int = 2, min_delta: float = 0.0, stock: int = 0) -> str:
    settings = load(None, {"pruning.n_increases": rises, "pruning.min_delta": min_delta})
    material = Material(settings, {"full_horizon": 1000}, Findings("s", [], 200, BASE, {}), None, None)
    return trial_note(of, point, material, stock_of(stock))


def cells(markdown: str) -> list[list[str]]:
    """Of the note's table."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[read(cell).strip() for cell in line.strip("|").split("|")] for line in lines[:1] + lines[2:]]


def test_a_trial_is_shown_beside_the_stock_recipe_and_the_base() -> None:
    shown = note(row([4.5, 3.0, 3.2, 3.4], "two_increases", measured=record(80, []), owner={"host": "gpu-1"}))
    assert read(shown).startswith("lr 4.00e-04 wd 0.02 x0.5 at 33% 67% clip 1")
    assert "the evaluation rose twice in a row.\\\nIts lowest evaluation is a full result." in shown
    assert cells(shown) == [
        ["", "eval", "text", "train probe", "gap", "at step"],
        ["this trial", "3.0000", "2.00", "2.4000", "1.25", "40 of 200"],
        ["stock recipe, trial 0", "3.5000", "2.10", "2.8000", "1.25", "60"],
        ["untouched base", "5.0000", "2.50", "4.0000", "1.25", "0"],
    ]
    assert "Time: set-up 1 s, training 30 s, evaluation 6 s" in shown
    assert "Log: `trials/7/log.txt` in the study's folder on gpu-1" in shown
    risen = note(row([4, 4.1], "two_increases"), rises=3, min_delta=0.02)
    assert "rose 3 times in a row, by more than 0.02 nats each time." in risen
    own = note(row([4.0], baseline="V0"), stock=7)
    assert [line[0] for line in cells(own)] == ["", "this trial", "untouched base"]


@pytest.mark.parametrize("reason", list(StopReason))
def test_every_reason_is_said_in_a_sentence(reason: StopReason) -> None:
    assert f"{reason}: " in read(note(row([4.0], str(reason), TrialState.PRUNED)))


def test_a_run_without_an_update_has_no_rates() -> None:
    empty = record(0, []) | dict.fromkeys(("lr_first", "lr_last", "grad_norm_before", "cumulative_decay"))
    shown = read(note(row([], "diverged", TrialState.PRUNED, empty)))
    assert "not applied to the weights" in shown and "What the knobs did" not in shown


def test_what_is_not_finite_is_never_the_best() -> None:
    diverged = row([math.nan, 4.5, math.inf], "diverged", TrialState.PRUNED, error=f"loss is nan in {HOSTILE}")
    assert diverged.best and diverged.best.mel_ce == 4.5
    assert f"Error: loss is nan in {HOSTILE}" in read(note(diverged))
    assert cells(note(row([math.nan], "diverged", TrialState.PRUNED)))[1][:2] == ["this trial", "not finite"]
