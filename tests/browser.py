"""A real Chromium without a window, which reaches nothing beyond this machine, and what it is sent to."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.settings.settings import Settings
from tests import shown
from tests.conftest import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "XTTS_STUDY_BROWSER"  # set where the programs are known to be there, so that no test is skipped in silence


def programs() -> tuple[str, str]:
    """(Chromium, its driver). Skips the test where they are not installed, and fails it where they must be."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)("Chromium and chromedriver are not installed")
    assert browser and driver
    return browser, driver


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A selenium driver; `profile` is a folder that it may write to."""
    from selenium import webdriver

    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-dev-shm-usage",
        "--mute-audio",
        "--autoplay-policy=no-user-gesture-required",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--disable-component-update",
        "--force-device-scale-factor=1",
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # The driver is named, or selenium would look for one in the network.
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    made.set_page_load_timeout(60)
    made.set_script_timeout(60)
    try:
        yield made
    finally:
        made.quit()


def until(browser: Any, condition: Callable[[Any], Any], seconds: float = 30) -> Any:
    """What `condition(browser)` returns once it is true; elements that are gone meanwhile are looked for again."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    gone = [NoSuchElementException, StaleElementReferenceException]
    return WebDriverWait(browser, seconds, 0.1, ignored_exceptions=gone).until(condition)


def text(browser: Any) -> str:
    """All that the page shows."""
    return str(browser.execute_script("return document.body.innerText"))


def requests(browser: Any) -> list[str]:
    """The URLs that were asked for since the last call."""
    entries = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]


def complaints(browser: Any) -> list[str]:
    """Errors of the page's console since the last call."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def scheme(browser: Any, name: str) -> None:
    """Light or dark, as the user's system prefers it."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]}
    )


PLAYED = """
const [audio, done] = arguments;
audio.addEventListener("ended", () => done([audio.currentTime, audio.duration]));
audio.addEventListener("error", () => done("error " + audio.error.message));
audio.play().catch(error => done(String(error)));
"""


def play(browser: Any, audio: Any) -> float:
    """Plays an audio element to its end; seconds."""
    found = browser.execute_async_script(PLAYED, audio)
    assert isinstance(found, list), found
    at, duration = found
    assert at == pytest.approx(duration, abs=0.05)
    return float(duration)


def unharmed(browser: Any) -> bool:
    """Whether no text of the data became a part of the page, or sent it elsewhere."""
    made = browser.execute_script(
        'return [document.querySelectorAll(\'img[src="x"], a[href^=javascript], img[src*="203.0.113"]\').length,'
        "[...document.scripts].filter(s => s.textContent.includes('harmed')).length, document.title]"
    )
    assert made[:2] == [0, 0] and "harmed" not in made[2]
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:", "chrome")) for url in requests(browser))
    return True


def quotes_hostile_text(browser: Any) -> bool:
    """Whether the page shows it whole and letter by letter, lines broken as they may be."""
    return shown.HOSTILE in " ".join(text(browser).split())


@contextmanager
def served_by(command: str, settings: Settings, *options: str, **environment: str) -> Iterator[str]:
    """The URL that `study.py COMMAND` tells, as a process."""
    called = [sys.executable, str(ROOT / "study.py"), command, "--port", "0", *options]
    called += ["--settings", str(settings.study.directory / "study.toml"), "--storage", settings.storage_url]
    called += ["--set", f"study.directory={settings.study.directory}"]
    pipe, variables = subprocess.PIPE, {**os.environ, **environment}
    process = subprocess.Popen(called, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=variables)
    try:
        assert process.stdout
        line = next(line for line in process.stdout if "http://" in line)
        reading = threading.Thread(target=process.stdout.read, daemon=True)  # what it logs must not fill the pipe
        reading.start()
        yield line[line.index("http://") :].split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
