"""What notes and an open dashboard cost: a refresh, answers, and a search beside an open page.

    python -m benchmarks.dashboard             # on a PostgreSQL of its own; the figures of docs/dashboard.md
    python -m benchmarks.dashboard --short     # a smaller study and search, for a look

The dashboard is the real command, in a process of its own, asked as a browser asks it. Times are compared in one run,
as ratios.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna

from search.pages.dashboard_notes import Notes
from search.settings.settings import Settings
from search.study import storage
from tests import shown
from tests.postgres import Server
from tests.stub import settings_of

POLL_SECONDS = 3.0  # the page's own default is 10


@contextmanager
def dashboard(settings: Settings) -> Iterator[str]:
    """The address of a study's document, served by `study.py dashboard`."""
    command = [sys.executable, "study.py", "dashboard", "--port", "0", "--storage", settings.storage_url]
    command += ["--set", f"study.directory={settings.study.directory}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        found = None
        while not found:
            line = process.stdout.readline()
            assert line, "the dashboard has ended"
            found = re.search(r"(http://\S+)/dashboard/(studies/\d+)", line)
        yield f"{found[1]}/api/{found[2]}"
    finally:
        process.terminate()
        process.wait()


def ask(url: str) -> tuple[float, int]:
    """(seconds, bytes) of an answer."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=600) as answer:
        size = len(answer.read())
    return time.perf_counter() - began, size


def answers(server: Server, folder: Path, trials: int) -> None:
    """A refresh of notes and figures after one more trial, and what the page then asks for."""
    settings = shown.study(folder, trials, 10, overrides={"study.storage": server.empty_database()})
    opened = storage.open_storage(settings.storage_url)
    notes = Notes(settings, opened)
    notes.refresh()
    study = optuna.load_study(study_name=settings.study.name, storage=opened)
    spent = []
    for _ in range(5):
        study.add_trial(study.trials[0])
        began = time.process_time()
        notes.refresh()
        spent.append(time.process_time() - began)
    print(f"refresh of a study of {trials} trials: {statistics.median(spent):.3f} s of a core")
    with dashboard(settings) as url:
        for name, address in (("whole study", url), ("what is new", f"{url}?after={trials}")):
            seconds, size = min(ask(address) for _ in range(5))
            print(f"{name}: {1e3 * seconds:.0f} ms, {size / 1e6:.2f} MB")
    opened.engine.dispose()


def beside_a_search(server: Server, folder: Path, trials: int, rounds: int) -> None:
    """Trials an hour of stub runs with a page that polls, over those without one; rounds in turn."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * rounds):
        watched = number % 2 == 1
        place = folder / str(number)
        place.mkdir()
        settings = settings_of(server.empty_database(), place, trials=trials, slots=2)
        storage.open_storage(settings.storage_url).engine.dispose()
        found[watched].append(watched_rate(settings, place, trials, watched))
    without, beside = (statistics.median(found[watched]) for watched in (False, True))
    print(f"trials an hour of a search of 2 slots: {without:.0f} alone, {beside:.0f} with an open dashboard")
    print(f"ratio: {beside / without:.3f} (alone from {min(found[False]):.0f} to {max(found[False]):.0f})")


def watched_rate(settings: Settings, place: Path, trials: int, watched: bool) -> float:
    command = [sys.executable, "-m", "tests.stub", settings.storage_url, str(place)]
    command += ["--trials", str(trials), "--slots", "2", "--seconds", "0.2"]
    search = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opened = storage.open_storage(settings.storage_url)
    while settings.study.name not in optuna.get_all_study_names(opened):
        time.sleep(0.1)
    ended = threading.Event()
    page = threading.Thread(target=watch, args=(settings, ended)) if watched else None
    if page:
        page.start()
    assert search.wait() == 0
    ended.set()
    if page:
        page.join()
    study = optuna.load_study(study_name=settings.study.name, storage=opened)
    # From the fifth trial's end on: the search and the page have started by then.
    ends = sorted(t.datetime_complete for t in study.get_trials(deepcopy=False) if t.datetime_complete)
    opened.engine.dispose()
    return 3600 * (len(ends) - 5) / (ends[-1] - ends[4]).total_seconds()


def watch(settings: Settings, ended: threading.Event) -> None:
    """An open page: the whole study once, then what is new."""
    with dashboard(settings) as url:
        ask(url)
        while not ended.wait(POLL_SECONDS):
            ask(f"{url}?after=5")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="40 trials, and searches of 20")
    short = parser.parse_args().short
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.chdir(Path(__file__).parent.parent)
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "answers").mkdir()
            answers(server, Path(folder) / "answers", 40 if short else 400)
            beside_a_search(server, Path(folder), *((20, 1) if short else (40, 3)))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
