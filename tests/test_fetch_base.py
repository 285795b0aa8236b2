"""`study.py fetch-base` as a process of its own; what `search.tools.download` does is tested in test_fetch.py."""

import os
import pty
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from search.tools.base_files import XTTS_V2
from tests.conftest import ROOT, wait_until
from tests.hub import FILES, NEXT, REPOSITORY, TOKEN, Hub, assert_complete, serving, some_bytes


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(monkeypatch) as hub:
        yield hub


class FetchBase:
    """`study.py fetch-base` in a folder of its own, asking the test's hub."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self.cwd = hub, folder / "cwd"
        self.cwd.mkdir()
        self.command = [sys.executable, str(ROOT / "study.py"), "fetch-base"]
        self.environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN}

    def __call__(
        self, *arguments: str, prefix: Sequence[str] = (), **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        variables = {**self.environment, **options.pop("variables", {})}
        result = subprocess.run(
            [*prefix, *self.command, "--revision", "next", *arguments],
            **{"cwd": self.cwd, "stdin": subprocess.DEVNULL, **options},
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert variables["HF_TOKEN"] not in result.stdout + result.stderr
        return result

    def refused(self, *arguments: str, **options: Any) -> str:
        """The one line that is printed; nothing is left."""
        result = self(*arguments, **options)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), result
        assert not [*self.cwd.iterdir()]
        return result.stderr


@pytest.fixture
def fetch_base(hub: Hub, tmp_path: Path) -> FetchBase:
    return FetchBase(hub, tmp_path)


def test_the_command_downloads_and_says_what_to_do_next(fetch_base: FetchBase, hub: Hub) -> None:
    hub.cuts = {"model.pth": [100_000]}
    result = fetch_base("--accept-licence")
    assert (result.returncode, result.stderr) == (0, "")
    note = assert_complete(fetch_base.cwd / "xtts-v2")
    assert note["accepted"] == "--accept-licence"
    assert "Accepted by --accept-licence." in result.stdout and "non-commercial" in result.stdout
    assert XTTS_V2.licence_url in result.stdout
    assert f"next of {REPOSITORY} is commit {NEXT}" in result.stdout
    assert "model.pth: the connection was broken off; trying again from 100.0 kB on" in result.stdout
    assert result.stdout.endswith('Next, in study.toml:\n[base]\npath = "xtts-v2"\n')
    # Nothing but the files was asked for, by anybody, and nothing but them was written.
    assert {r.path.partition("?")[0].partition("/resolve/")[0] for r in hub.log if "/storage/" not in r.path} == {
        f"/{REPOSITORY}",
        f"/api/models/{REPOSITORY}/revision/next",
    }
    assert not [r.headers["user-agent"] for r in hub.log if "torch" in r.headers["user-agent"]]
    assert [path.name for path in fetch_base.cwd.iterdir()] == ["xtts-v2"]
    assert not (fetch_base.cwd.parent / "hf").exists()
    # The token goes to the hub, and not to where the hub redirects.
    assert {r.token for r in hub.log if "/storage/" not in r.path} == {f"Bearer {TOKEN}"}
    assert {r.token for r in hub.log if "/storage/" in r.path} == {None}

    again = fetch_base(variables={"HF_HUB_OFFLINE": "1"}, prefix=())
    assert again.returncode == 2  # a branch may have moved: only the hub knows
    hub.log.clear()
    again = fetch_base("--revision", NEXT, variables={"HF_HUB_OFFLINE": "1"})
    assert (again.returncode, again.stderr, hub.log) == (0, "", [])
    assert "Complete already, and checked; nothing was downloaded: xtts-v2" in again.stdout


def test_without_an_answer_on_the_licence_nothing_is_asked_of_the_hub(fetch_base: FetchBase, hub: Hub) -> None:
    line = fetch_base.refused(variables={"COQUI_TOS_AGREED": "0"})
    assert all(
        part in line for part in ("non-commercial", XTTS_V2.licence_url, "--accept-licence", "COQUI_TOS_AGREED=1")
    )
    assert hub.log == []


def test_the_variable_of_coqui_accepts_too_and_offline_is_said(fetch_base: FetchBase) -> None:
    agreed = {"COQUI_TOS_AGREED": "1"}
    assert "HF_HUB_OFFLINE" in fetch_base.refused(variables={**agreed, "HF_HUB_OFFLINE": "1"})
    assert fetch_base("--output", "a b/ባ", variables=agreed).returncode == 0
    assert assert_complete(fetch_base.cwd / "a b" / "ባ")["accepted"] == "COQUI_TOS_AGREED=1"


def test_the_pinned_revision_is_what_is_asked_for_and_checked(fetch_base: FetchBase, hub: Hub) -> None:
    arguments = ["--revision", "", "--accept-licence"]
    assert "has no revision" in fetch_base.refused(*arguments)
    hub.revisions[XTTS_V2.revision] = XTTS_V2.revision
    hub.files = {**FILES, "LICENSE.txt": some_bytes("another licence", XTTS_V2.files[0].size)}
    assert f"not {XTTS_V2.files[0].digest} (sha256, pinned)" in fetch_base.refused(*arguments)
    assert all(f"/resolve/{XTTS_V2.revision}/LICENSE.txt" in r.path for r in hub.log)


def test_a_token_that_cannot_be_sent_is_not_shown(fetch_base: FetchBase) -> None:
    for token in ("hf_form\x0cfeed", "hf_ü"):
        line = fetch_base.refused("--accept-licence", variables={"HF_TOKEN": token})
        assert "HF_TOKEN" in line and "hf_" not in line


def hear_interrupts() -> None:
    """Of a new process: what runs in the background is born deaf to them, the tests included."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_stopped_by_the_user_it_goes_on_where_it_was(fetch_base: FetchBase, hub: Hub) -> None:
    command = [*fetch_base.command, "--revision", "next", "--accept-licence"]
    process = subprocess.Popen(
        command,
        cwd=fetch_base.cwd,
        env=fetch_base.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    staging = fetch_base.cwd / ".xtts-v2.download"

    def stop() -> None:
        wait_until(lambda: any(path.stat().st_size for path in staging.glob("model.pth.*.part")))
        process.send_signal(signal.SIGINT)

    hub.cuts, hub.on_cut = {"model.pth": [200_000]}, stop
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("Stopped; the same command continues.\n")
    assert [*fetch_base.cwd.iterdir()] == [staging]
    kept = next(staging.glob("model.pth.*.part")).stat().st_size
    hub.on_cut = None
    assert fetch_base("--accept-licence").returncode == 0
    assert_complete(fetch_base.cwd / "xtts-v2")
    assert hub.sent("model.pth") == [(0, 200_000), (kept, 300_000 - kept)]


# Room


def on_a_disk_of(folder: Path, options: str) -> list[str]:
    """A prefix that gives a command an empty disk of its own, mounted at `folder`; skips where that is not allowed."""
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && cd "$0" && "$@"; code=$?; ls -A "$0" >&2; exit $code'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(folder)]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    return prefix


def test_a_disk_that_is_too_small_is_said_before_the_download(fetch_base: FetchBase, hub: Hub) -> None:
    result = fetch_base("--accept-licence", prefix=on_a_disk_of(fetch_base.cwd, "size=256k"))
    assert result.returncode == 2
    assert "has 262.1 kB left, and 382.3 kB are still to be downloaded; make room" in result.stderr
    assert result.stderr.count("\n") == 1  # and nothing was left there
    assert not [r for r in hub.log if "/resolve/" in r.path]


def test_a_disk_that_fills_up_keeps_what_has_arrived(fetch_base: FetchBase) -> None:
    # Four inodes: the disk itself, the hidden folder, two files.
    result = fetch_base("--accept-licence", prefix=on_a_disk_of(fetch_base.cwd, "size=1m,nr_inodes=4"))
    assert result.returncode == 2
    line, left = result.stderr.splitlines()
    assert "has no room left (No space left on device); make room" in line and "the same command continues" in line
    assert left == ".xtts-v2.download"


def test_no_room_in_the_middle_of_a_file_keeps_what_has_arrived(fetch_base: FetchBase, hub: Hub) -> None:
    limit = 150_000  # bytes that a file may have
    result = fetch_base(
        "--accept-licence", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "has no room left (File too large); make room" in result.stderr
    assert not (fetch_base.cwd / "xtts-v2").exists()
    kept = next((fetch_base.cwd / ".xtts-v2.download").glob("model.pth.*.part")).stat().st_size
    assert 0 < kept <= limit
    assert fetch_base("--accept-licence").returncode == 0
    assert_complete(fetch_base.cwd / "xtts-v2")
    assert hub.sent("model.pth")[1] == (kept, 300_000 - kept)


# At a terminal


def at_terminal(fetch_base: FetchBase, typed: str) -> tuple[int, str]:
    """Exit code and what the screen showed, with `typed` once it asks."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        hear_interrupts()
        os.chdir(fetch_base.cwd)
        command = [*fetch_base.command, "--revision", "next"]
        os.execvpe(command[0], command, {**fetch_base.environment, "TERM": "xterm", "COLUMNS": "120"})
    screen, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                screen += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # closed by the other side
                break
        elif screen.rstrip().endswith(("Type yes to accept it:", "^C")):  # it waits; a ^C that came too early is lost
            os.write(terminal, typed.encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), screen


def test_at_a_terminal_the_licence_is_shown_and_yes_accepts_it(fetch_base: FetchBase) -> None:
    code, screen = at_terminal(fetch_base, "yes\n")
    assert code == 0, screen
    assert all(line in screen for line in XTTS_V2.terms)
    assert "model.pth  300.0 kB  matches" in screen
    assert "kB/s" in screen or "━" in screen  # a bar
    assert assert_complete(fetch_base.cwd / "xtts-v2")["accepted"] == "typed at a terminal"


@pytest.mark.parametrize(("typed", "code"), [("y\n", 2), ("\x03", 130)])
def test_at_a_terminal_anything_but_yes_refuses(fetch_base: FetchBase, hub: Hub, typed: str, code: int) -> None:
    found, screen = at_terminal(fetch_base, typed)
    assert found == code, screen
    assert ("nothing was downloaded" in screen) == (code == 2)
    assert hub.log == [] and not [*fetch_base.cwd.iterdir()]
