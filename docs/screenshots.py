"""The pictures of the README, of a real study in Chromium: `make screenshots`.

python docs/screenshots.py STUDY FOLDER: those of the study whose folder is STUDY, as in runs/miniature, into FOLDER.
"""

import argparse
import base64
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from search.commands.report import write
from search.settings.settings import Settings, load
from search.show.terminal import draw, ended_line
from search.study import storage
from search.study.findings import Findings, Row, read
from search.trial import StopReason
from search.workers.events import End, Extent, Start
from search.workers.scoreboard import Board
from tests.browser import chromium, scheme, text, until

ENDED, COLUMNS = 9, 100  # lines of ended trials in the terminal's picture, and its width


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the README.")
    parser.add_argument("study", type=Path, help="folder of a study, as in runs/miniature")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    given = parser.parse_args()
    settings = load(given.study / "study.toml", {"study.directory": str(given.study.absolute().parent)})
    findings = read(storage.load_study(settings))
    if not any(row.speech for row in findings.rows):
        sys.exit(f"no trial of {given.study} spoke: it is of an older release, or speech is off; move it away")
    with tempfile.TemporaryDirectory() as scratch, chromium(Path(scratch) / "profile", 1280, 800) as browser:
        terminal(browser, findings, settings, Path(scratch), given.folder / "terminal.png")
        report(browser, settings, Path(scratch) / "report.html", given.folder)
        dashboard(browser, findings, settings, given.study, given.folder)


def window(browser: Any, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def shoot(browser: Any, file: Path, width: int, height: int, left: float = 0, top: float = 0) -> None:
    """A part of the page."""
    clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
    made = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    file.write_bytes(base64.b64decode(made["data"]))
    print(f"{file}  {file.stat().st_size / 1000:.0f} kB")


def bottom(browser: Any, selector: str, words: str = "") -> int:
    """Where the first element that matches and shows the words ends, in pixels from the top."""
    found = until(browser, lambda b: [e for e in b.find_elements("css selector", selector) if words in e.text])[0]
    return round(found.rect["y"] + found.rect["height"])


def report(browser: Any, settings: Settings, page: Path, folder: Path) -> None:
    write(settings, page, "")
    window(browser, 1040, 900)
    for name in ("light", "dark"):
        scheme(browser, name)
        browser.get(page.as_uri())
        shoot(browser, folder / f"report-{name}.png", 1040, bottom(browser, "figure"))
    scheme(browser, "light")


def dashboard(browser: Any, findings: Findings, settings: Settings, study: Path, folder: Path) -> None:
    command = [sys.executable, str(ROOT / "study.py"), "dashboard", "--port", "0"]
    command += ["--settings", str(study / "study.toml"), "--set", f"study.directory={settings.study.directory}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = next(line for line in process.stdout if "http://" in line)
        page = line[line.index("http://") :].strip()
        best = min((row for row in findings.rows if row.speech), key=lambda row: row.trial.value or 0)
        browser.get(f"{page}/trials?numbers={best.trial.number}")
        until(browser, lambda b: b.find_elements("tag name", "audio"))
        until(browser, lambda b: b.execute_script("return [...document.images].every(i => i.complete)"))
        window(browser, 1280, 2600)  # the whole trial: the page otherwise scrolls within itself
        until(browser, lambda b: "voice reference" in text(b))
        shoot(browser, folder / "dashboard-trial.png", 1280, 1260)
        players = [player.rect for player in browser.find_elements("tag name", "audio")]
        top = min(player["y"] for player in players) - 90
        height = max(player["y"] + player["height"] for player in players) - top + 140
        shoot(browser, folder / "dashboard-sound.png", 860, round(height), left=266, top=top)
        window(browser, 1280, 900)
        browser.get(page)
        height = bottom(browser, ".js-plotly-plot", "Lowest evaluation of each trial")
        window(browser, 1280, height)
        shoot(browser, folder / "dashboard-study.png", 1280, height)
    finally:
        process.terminate()
        process.wait()


def terminal(browser: Any, findings: Findings, settings: Settings, scratch: Path, file: Path) -> None:
    """A search as it was when so many of its trials had ended."""
    space = settings.search_space()
    rows = [row for row in findings.rows if row.best and row.trial.state.is_finished()][: ENDED + 2]
    console = Console(record=True, file=io.StringIO(), force_terminal=True, width=COLUMNS, height=40)
    board = Board()
    board.begin(Extent(settings.study.trials, 0, 2, findings.base.mel_ce, None, n_increases=2))

    def start(slot: int, row: Row) -> Start:
        label = f"baseline {row.baseline}" if row.baseline else f"repeat {row.repeat}" if row.repeat else None
        return Start(slot, row.trial.number, space.from_params(row.trial.params), findings.horizon, label)

    console.print("$ python study.py --trials 40", highlight=False)
    for count, row in enumerate(rows[:ENDED], 1):
        started = start(0, row)
        board.started(started)
        for evaluation in row.evaluations:
            board.evaluated(0, evaluation)
        end = End(0, row.trial.number, StopReason(row.reason), row.best, None, competes=not row.repeat)
        known = board.ended(end)
        board.counted(count, None)
        console.print(ended_line(board.noun, known), overflow="ellipsis", no_wrap=True)
    board.since -= 60
    for slot, row in enumerate(rows[ENDED:]):
        board.started(start(slot, row))
        for evaluation in row.evaluations[: 3 + 2 * slot]:
            board.evaluated(slot, evaluation)
        board.runs[slot].since -= 5 * len(board.runs[slot].evaluations)
    console.print(draw(board, "", console.size))
    console.print()  # or the picture's edge would hide what hangs below the last line
    drawn = scratch / "terminal.svg"
    drawn.write_text(console.export_svg(title="", theme=DIMMED_MONOKAI), encoding="utf-8")
    browser.get(drawn.as_uri())
    width, height = browser.execute_script(
        "const box = document.documentElement.viewBox.baseVal; return [box.width, box.height]"
    )
    window(browser, round(width), round(height))
    shoot(browser, file, round(width), round(height))


if __name__ == "__main__":
    main()
