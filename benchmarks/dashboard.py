"""What an open dashboard costs: its answers with and without news, and a search beside it.

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
    """(seconds, bytes) of an answer, packed as browsers take it."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:
        size = len(answer.read())
    return time.perf_counter() - began, size


def answers(server: Server, folder: Path, trials: int) -> None:
    """The first load of a study, and what the page asks afterwards, with and without news."""
    settings = shown.study(folder, trials, 10, overrides={"study.storage": server.empty_database()})
    study = optuna.load_study(study_name=settings.study.name, storage=storage.open_storage(settings.storage_url))
    [running] = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
    trial = optuna.Trial(study, running._trial_id)
    with dashboard(settings) as url:
        first, size = ask(url)
        print(f"first load of {trials} trials x 10 evaluations: {first:.2f} s, {size / 1e6:.1f} MB packed")
        news = []
        for step in range(40, 100, 20):
            trial.report(4.0, step)
            news.append(ask(f"{url}?after={trials}")[0])
        ask(url)
        for name, address in (("poll", f"{url}?after={trials}"), ("full reload", url)):
            ask(address)
            seconds = statistics.median(ask(address)[0] for _ in range(20))
            print(f"{name} without news: {1e3 * seconds:.1f} ms, 1/{first / seconds:.0f} of the first load")
        print(f"poll with an evaluation more: {1e3 * statistics.median(news):.0f} ms")


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
    parser.add_argument("--short", action="store_true", help="500 trials, and searches of 20")
    short = parser.parse_args().short
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.chdir(Path(__file__).parent.parent)
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "answers").mkdir()
            answers(server, Path(folder) / "answers", 500 if short else 5000)
            beside_a_search(server, Path(folder), *((20, 1) if short else (40, 3)))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
