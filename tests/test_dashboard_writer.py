"""The listener that writes notes while a search runs."""

import threading
from pathlib import Path
from typing import Any

import pytest

from search.errors import UserError
from search.pages.dashboard_notes import Notes, NotesWriter
from search.trial import StopReason
from search.workers.events import End, Extent
from tests import dashboards
from tests.conftest import wait_until
from tests.studies import FLAT, run

EXTENT, ENDED = Extent(4, 0, 1, 5.0, None), End(0, 0, StopReason.FINISHED, None, None)


def test_notes_follow_the_trials_and_the_last_is_written_before_it_closes(either: str, tmp_path: Path) -> None:
    study, dashboard = dashboards.small(tmp_path, {"study.storage": either})
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    writer = NotesWriter(dashboard.settings, pytest.fail)
    writer.begin(EXTENT)

    def notes() -> list[str]:
        return [trial["note"]["body"] for trial in dashboard.document()["trials"]]

    wait_until(lambda: all(notes()), what="the note of the trial before")
    run(study, FLAT, [4.4, 3.9])
    writer.ended(ENDED)
    wait_until(lambda: len(notes()) == 2 and all(notes()), what="the second note")
    run(study, FLAT, [4.4, 3.8])
    writer.ended(ENDED)
    writer.close()
    assert len(notes()) == 3 and all(notes())
    assert "trial 2: 3.8000" in dashboard.document()["note"]["body"]


def test_a_slow_or_failing_refresh_holds_up_nobody_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dashboard = dashboards.small(tmp_path)
    said: list[str] = []
    began, go_on = threading.Event(), threading.Event()
    refreshes: list[Any] = []

    def refresh(notes: Notes) -> None:
        refreshes.append(notes)
        began.set()
        assert go_on.wait(60)
        raise UserError("the database is away") if len(refreshes) < 3 else KeyError("x")

    monkeypatch.setattr(Notes, "refresh", refresh)
    writer = NotesWriter(dashboard.settings, said.append)
    writer.begin(EXTENT)
    assert began.wait(60)
    for _ in range(50):
        writer.ended(ENDED)  # returns at once
    assert len(refreshes) == 1
    go_on.set()
    wait_until(lambda: len(refreshes) == 2, what="one refresh for all that ended meanwhile")
    writer.close()
    assert len(refreshes) == 3
    assert said == ["notes and figures of the dashboard were not written: the database is away"]
