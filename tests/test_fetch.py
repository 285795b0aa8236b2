"""`fetch-base` against a hub on loopback: downloads that break, folders that exist, and refusals in one line."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from huggingface_hub import close_session, constants

from search.errors import UserError
from search.tools.base_files import XTTS_V2, acceptance
from search.tools.fetch import fetch
from tests.conftest import ROOT, wait_until
from tests.hub import BASE, FILES, Hub, serving

TOKEN = "hf_averysecrettoken"
BLOCK = 10_000  # bytes that the client writes at once; its own are as much larger as the real files


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Asked by the client of this process, and of those that it starts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("COQUI_TOS_AGREED", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serving() as hub:
        point_to(hub.url, monkeypatch)
        yield hub
    close_session()  # the next hub has other ports


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does, which the client reads when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", BLOCK)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None, time=time.time))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "base"


def get(target: Path) -> list[str]:
    return fetch(target, lambda: "by the test", BASE)


def refused(target: Path, *parts: str) -> None:
    """One line that contains `parts`."""
    with pytest.raises(UserError) as info:
        get(target)
    message = str(info.value)
    assert "\n" not in message and TOKEN not in message and all(part in message for part in parts), message


def assert_complete(target: Path) -> dict[str, Any]:
    """The note of a folder that holds the files and nothing else, with nothing beside it."""
    note: dict[str, Any] = json.loads((target / "source.json").read_text(encoding="utf-8"))
    assert {p.name: p.read_bytes() for p in target.iterdir() if p.name != "source.json"} == FILES
    assert not [*target.parent.glob(f".{target.name}*")]
    return note


def test_every_pinned_figure_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "base_models.md").read_text(encoding="utf-8")
    assert re.fullmatch("[0-9a-f]{40}", XTTS_V2.revision) and XTTS_V2.revision in text
    for file in XTTS_V2.files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert f"| `{file.name}` | {file.size:,} | `{file.sha256}` |" in text


@pytest.mark.parametrize("change", [lambda d: d[:-1] + b"?", lambda d: d[:-1]])
def test_a_file_that_differs_never_appears(hub: Hub, target: Path, change: Callable[[bytes], bytes]) -> None:
    hub.files["model.pth"] = change(FILES["model.pth"])
    refused(target, "model.pth", BASE.files[-1].sha256, "was removed", "HF_ENDPOINT")
    assert not target.exists()
    hub.files = FILES
    get(target)
    assert_complete(target)
    assert hub.sent("model.pth")[-1] == (0, 300_000)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(bytes(70_000))])
def test_only_a_damaged_file_is_downloaded_again(hub: Hub, target: Path, harm: Callable[[Path], Any]) -> None:
    get(target)
    hub.log.clear()
    harm(target / "dvae.pth")
    (target / "mine.txt").write_text("kept")
    assert get(target) == ["dvae.pth"]
    (target / "mine.txt").unlink()
    assert_complete(target)
    assert {asked.path.rpartition("/")[2] for asked in hub.log} == {"dvae.pth"}


def test_other_content_is_left_alone(hub: Hub, target: Path) -> None:
    target.mkdir()
    file = target / "model.pth"
    file.write_text("mine")
    for path, part in ((target, "was not made by"), (file, "was not made by"), (file / "x", "Not a directory")):
        refused(path, str(target), part, "--output")
    assert [*target.parent.rglob("*")] == [target, file] and file.read_text() == "mine" and hub.log == []


def test_a_disk_that_fills_up_is_one_line(hub: Hub, target: Path) -> None:
    """A limit on the size of files stands in for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        refused(target, "File too large", "make room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    get(target)
    assert_complete(target)
    assert hub.sent("model.pth")[-1] == (150_000, 150_000)


@pytest.mark.usefixtures("hub")
def test_one_process_downloads_at_a_time(target: Path) -> None:
    with FileLock(target.parent / ".base.download.lock"):
        refused(target, "another process is downloading")
    get(target)
    assert_complete(target)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (403, "status 403"),
        (503, "status 503"),
        ("http://user:{token}@127.0.0.1:9", "ConnectError"),  # port 9, "discard", is closed
        ("127.0.0.1", "UnsupportedProtocol"),
        ("http://127.0.0.1:port", "InvalidURL"),
    ],
)
def test_what_the_network_refuses_is_one_line(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch, asked: int | str, shown: str
) -> None:
    if isinstance(asked, int):
        hub.status = asked
    else:
        point_to(asked.format(token=TOKEN), monkeypatch)
    refused(target, "127.0.0.1", f"does not give LICENSE.txt ({shown})", "HF_ENDPOINT", "HF_TOKEN", "the same command")
    assert not [*target.parent.iterdir()]


# The command


class FetchBase:
    """`study.py fetch-base` in a folder of its own, asking the test's hub for its files."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.cwd = folder / "cwd"
        self.cwd.mkdir()
        # The real files are too large for a test: `main` of study.py, with those of the hub pinned.
        script = "import sys; import search.commands.fetch_base as c; import search.tools.fetch as f; import tests.hub;"
        script += f"f.constants.DOWNLOAD_CHUNK_SIZE = {BLOCK}; f.fetch.__defaults__ = (tests.hub.BASE,);"
        script += "import study; sys.argv[0] = 'study.py'; study.main()"
        self.command = [sys.executable, "-c", script, "fetch-base"]
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
        self.environment = {**os.environ, **variables}

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command, options = [*self.command, *arguments], {"env": self.environment, **options}
        return subprocess.Popen(command, cwd=self.cwd, text=True, **pipes, **options)

    def __call__(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        process = self.start(*arguments, env={**self.environment, **variables})
        output, errors = process.communicate(timeout=60)
        assert "hf_" not in output + errors
        return process.returncode, output, errors


@pytest.fixture
def fetch_base(hub: Hub, tmp_path: Path) -> FetchBase:
    return FetchBase(hub, tmp_path)


def test_the_command_downloads_and_says_what_to_do_next(fetch_base: FetchBase, hub: Hub) -> None:
    hub.cuts = {"model.pth": [100_000]}
    code, output, errors = fetch_base("--accept-licence")
    assert (code, errors) == (0, "")
    assert assert_complete(fetch_base.cwd / "xtts-v2")["accepted"] == "--accept-licence"
    assert XTTS_V2.licence_url in output and "Non-commercial" in output
    assert "Downloading model.pth, 300,000 bytes" in output
    assert output.endswith('Next, in study.toml:\n[base]\npath = "xtts-v2"\n')
    # Nothing but the files was asked for, and nothing but them was written.
    assert {asked.path.rpartition("/")[2] for asked in hub.log} == {*FILES}
    assert not [asked for asked in hub.log if "torch" in asked.headers["user-agent"]]
    assert not (fetch_base.cwd.parent / "hf").exists()
    # The token goes to the hub, and not to where the hub redirects.
    tokens = {("/storage/" in asked.path, asked.headers.get("authorization")) for asked in hub.log}
    assert tokens == {(False, f"Bearer {TOKEN}"), (True, None)}
    code, output, errors = fetch_base(HF_HUB_OFFLINE="1")
    assert (code, errors) == (0, "")
    assert "Complete and checked; nothing was downloaded: xtts-v2" in output


def test_refusals_before_anything_is_downloaded(fetch_base: FetchBase, hub: Hub) -> None:
    for arguments, variables, parts in (
        ([], {}, ("non-commercial", XTTS_V2.licence_url, "--accept-licence", "COQUI_TOS_AGREED=1")),
        (["--accept-licence"], {"HF_TOKEN": "hf_ü"}, ("HF_TOKEN",)),
    ):
        code, _, errors = fetch_base(*arguments, **variables)
        assert (code, errors.count("\n"), [*fetch_base.cwd.iterdir()]) == (2, 1, []), errors
        assert all(part in errors for part in parts)
    assert hub.log == []


def hear_interrupts() -> None:
    """Of a new process: one that runs in the background ignores them, the tests included."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_and_the_same_command_again(fetch_base: FetchBase, hub: Hub) -> None:
    part = fetch_base.cwd / ".xtts-v2.download" / "model.pth"

    def stop() -> None:
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
        process.send_signal(signal.SIGINT)

    hub.cuts, hub.on_cut = {"model.pth": [200_000]}, stop
    process = fetch_base.start("--accept-licence", preexec_fn=hear_interrupts)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("Stopped; run the same command again to continue.\n")
    kept = part.stat().st_size
    assert kept > 0 and not (fetch_base.cwd / "xtts-v2").exists()
    assert fetch_base("--accept-licence")[0] == 0
    assert_complete(fetch_base.cwd / "xtts-v2")
    assert hub.sent("model.pth")[-1] == (kept, 300_000 - kept)


@pytest.mark.parametrize("typed", ["yes", "y", ""])
def test_only_yes_accepts(typed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COQUI_TOS_AGREED", raising=False)
    if typed == "yes":
        assert acceptance(XTTS_V2, False, lambda: typed) == "typed at a terminal"
    else:
        with pytest.raises(UserError, match="not accepted, so nothing was downloaded"):
            acceptance(XTTS_V2, False, lambda: typed)
    shown = capsys.readouterr().out
    assert all(line in shown for line in XTTS_V2.terms)
