import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download

from search.errors import UserError
from search.tools.base_files import XTTS_V2, BaseFile
from search.tools.download import Fetched, fetch
from search.tools.download_display import PlainFetchView, amount
from tests.conftest import ROOT
from tests.hub import (
    COMMIT,
    FILES,
    NEXT,
    OTHERS,
    REPOSITORY,
    TOKEN,
    Hub,
    assert_complete,
    git_blob,
    is_large,
    manifest,
    serving,
    some_bytes,
)

PARTS = ".base.download"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(monkeypatch) as hub:
        yield hub


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "base"


def get(hub: Hub, target: Path, revision: str | None = None, **options: Any) -> Fetched:
    """A download of what is pinned for the test, without waiting between attempts."""
    options = {"waits": (0, 0), "endpoint": hub.url, "manifest": manifest(), **options}
    return fetch(target, revision, options.pop("accept", lambda: "by the test"), PlainFetchView(), **options)


def refused(hub: Hub, target: Path, *parts: str, **options: Any) -> str:
    """The one line of a refusal, which holds `parts`."""
    with pytest.raises(UserError) as info:
        get(hub, target, **options)
    message = str(info.value)
    assert "\n" not in message and all(part in message for part in parts), message
    return message


def never_asked() -> str:
    raise AssertionError("asked for the licence again")


def test_every_figure_that_is_pinned_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "base_models.md").read_text(encoding="utf-8")
    assert re.fullmatch("[0-9a-f]{40}", XTTS_V2.revision) and XTTS_V2.revision in text
    for file in XTTS_V2.files:
        assert re.fullmatch("[0-9a-f]{64}", file.digest)
        assert f"| `{file.name}` | {file.size:,} | `{file.digest}` |" in text
    assert {f.name for f in XTTS_V2.files} == {*FILES}


def test_the_stock_client_downloads_from_this_hub(hub: Hub, tmp_path: Path) -> None:
    info = HfApi(endpoint=hub.url).model_info(REPOSITORY, revision="main", files_metadata=True)
    assert (info.sha, {s.rfilename for s in info.siblings or []}) == (COMMIT, {*FILES, *OTHERS})
    for name in ("config.json", "model.pth"):
        path = hf_hub_download(REPOSITORY, name, revision="main", endpoint=hub.url, cache_dir=tmp_path)
        assert Path(path).read_bytes() == FILES[name]


def test_a_download_is_whole_and_says_where_it_comes_from(
    hub: Hub, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = get(hub, target)
    note = assert_complete(target)
    assert (done.downloaded, done.size) == ((*FILES,), sum(map(len, FILES.values())))
    del note["files"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note.pop("date"))
    assert note == {
        "version": 1,
        "repository": REPOSITORY,
        "revision": COMMIT,
        "asked": COMMIT,
        "licence": "Licence of the Test",
        "accepted": "by the test",
    }
    assert {done.source.files[name].check for name in FILES} == {"sha256, pinned"}
    assert "model.pth  300.0 kB  matches: sha256, pinned" in capsys.readouterr().out
    assert {name: sum(sent for _, sent in hub.sent(name)) for name in FILES} == {n: len(d) for n, d in FILES.items()}


def test_a_second_call_asks_for_nothing(hub: Hub, target: Path) -> None:
    get(hub, target)
    hub.log.clear()
    assert get(hub, target, accept=never_asked).downloaded == ()
    assert hub.log == []
    assert get(hub, target, endpoint="http://127.0.0.1:1").downloaded == ()
    assert_complete(target)


def test_an_empty_folder_is_filled(hub: Hub, target: Path) -> None:
    target.mkdir()
    get(hub, target)
    assert_complete(target)


# Broken transfers


def test_a_broken_transfer_goes_on_where_it_stopped(hub: Hub, target: Path) -> None:
    hub.cuts = {"model.pth": [101, 5_000, 60_000], "vocab.json": [1_000]}
    get(hub, target)
    assert_complete(target)
    assert hub.sent("model.pth") == [(0, 101), (101, 5_000), (5_101, 60_000), (65_101, 234_899)]
    assert hub.sent("vocab.json") == [(0, 1_000), (1_000, 2_612)]
    assert {r.headers["accept-encoding"] for r in hub.log} == {"identity"}  # positions are those in the file


def test_what_arrived_is_kept_for_the_next_call(hub: Hub, target: Path) -> None:
    hub.cuts = {"dvae.pth": [50_000, 0, 0, 0]}
    refused(hub, target, "dvae.pth could not be downloaded", "broken off, 3 times in a row", PARTS, "same command")
    assert not target.exists()
    assert len(hub.sent("model.pth")) == 0
    hub.cuts = {}
    get(hub, target)
    assert_complete(target)
    assert hub.sent("dvae.pth") == [(0, 50_000), (50_000, 20_000)]
    assert {name: len(hub.sent(name)) for name in ("vocab.json", "speakers_xtts.pth")} == {
        "vocab.json": 1,
        "speakers_xtts.pth": 1,
    }


def test_a_hub_without_ranges_sends_the_file_from_its_beginning(
    hub: Hub, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.cuts, hub.knows_ranges = {"model.pth": [200_000, 100_000]}, False
    get(hub, target)
    assert_complete(target)
    output = capsys.readouterr().out
    assert output.index("trying again from 200.0 kB on") < output.index("trying again from 100.0 kB on")


def test_a_busy_hub_is_asked_again(hub: Hub, target: Path) -> None:
    hub.statuses = [("model.pth", 503, "")]
    refused(hub, target, "model.pth could not be downloaded", "answered 503, 3 times in a row")
    hub.statuses = []
    get(hub, target)
    assert_complete(target)


def test_the_beginning_of_an_earlier_call_is_not_trusted(hub: Hub, target: Path) -> None:
    hub.cuts = {"model.pth": [200_000, 0, 0, 0]}
    refused(hub, target, "model.pth")
    [part] = (target.parent / PARTS).glob("model.pth.*.part")
    part.write_bytes(some_bytes("a page lost with the power", 200_000))
    hub.cuts = {}
    get(hub, target)
    assert_complete(target)
    assert hub.sent("model.pth")[-1] == (0, 300_000)


@pytest.mark.parametrize(
    ("sends", "message"),
    [
        (some_bytes("another", 300_000), "has the digest"),
        (some_bytes("another", 300_001), "is not of 300000 bytes"),
        (some_bytes("model.pth", 299_999), "is not of 300000 bytes"),
        (b"", "is not of 300000 bytes"),
    ],
    ids=["content", "too long", "too short", "empty"],
)
def test_a_file_that_does_not_match_is_never_there(hub: Hub, target: Path, sends: bytes, message: str) -> None:
    hub.sends = {"model.pth": sends}
    if not sends:  # no range of an empty file is asked for
        message = "the file ended early"
    refused(hub, target, "model.pth", message, "127.0.0.1")
    assert not target.exists()
    assert not [*(target.parent / PARTS).glob("model.pth*")]
    hub.sends = {}
    get(hub, target)
    assert_complete(target)


def test_leftovers_of_another_download_do_not_get_into_the_folder(hub: Hub, target: Path) -> None:
    staging = target.parent / PARTS
    (staging / "folder").mkdir(parents=True)
    (staging / "model.pth.0123.part").write_bytes(b"of another revision")
    (staging / "config.json").write_bytes(b"half a power loss")
    get(hub, target)
    assert_complete(target)


def test_one_process_downloads_at_a_time(hub: Hub, target: Path) -> None:
    staging = target.parent / PARTS
    staging.mkdir()
    descriptor = os.open(staging, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    refused(hub, target, "another process is downloading")
    os.close(descriptor)
    get(hub, target)
    assert_complete(target)


# What is there before


@pytest.mark.parametrize("harm", ["a byte", "shorter", "gone"])
def test_a_damaged_file_alone_is_fetched_again(hub: Hub, target: Path, harm: str) -> None:
    get(hub, target)
    hub.log.clear()
    path = target / "dvae.pth"
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + (b"" if harm == "shorter" else b"\0"))
    (target / "mine.txt").write_text("kept")
    assert get(hub, target, accept=lambda: "again").downloaded == ("dvae.pth",)
    assert (target / "mine.txt").read_text() == "kept"
    (target / "mine.txt").unlink()
    assert assert_complete(target)["accepted"] == "again"
    assert {r.path.rpartition("/")[2] for r in hub.log} == {"dvae.pth"}


def test_the_pinned_digest_decides_not_the_note(hub: Hub, target: Path) -> None:
    get(hub, target)
    other = some_bytes("planted", 437)
    (target / "config.json").write_bytes(other)
    text = (target / "source.json").read_text(encoding="utf-8")
    text = text.replace(hashlib.sha256(FILES["config.json"]).hexdigest(), hashlib.sha256(other).hexdigest())
    (target / "source.json").write_text(text, encoding="utf-8")
    assert get(hub, target).downloaded == ("config.json",)
    assert_complete(target)


def make_file(target: Path) -> None:
    target.write_text("mine")


def make_folder(target: Path) -> None:
    target.mkdir()
    (target / "model.pth").write_text("mine")


def make_note(**changes: Any) -> Callable[[Path], None]:
    def make(target: Path) -> None:
        target.mkdir()
        files = {name: {"size": 1, "sha256": "0" * 64, "check": "sha256, pinned"} for name in FILES}
        names = ("repository", "revision", "asked", "date", "licence", "accepted")
        note = {"version": 1, **dict.fromkeys(names, "x"), "repository": REPOSITORY, "files": files, **changes}
        (target / "source.json").write_text(json.dumps(note), encoding="utf-8")

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_file, "holds no download of this command"),
        (make_folder, "holds no download of this command"),
        (make_note(version=2), "source.json cannot be read (it is no note of this version)"),
        (make_note(repository="somebody/else"), "of somebody/else"),
        (make_note(revision=NEXT), f"holds {REPOSITORY} at {NEXT}, not at {COMMIT}"),
        (make_note(files={}), "holds "),
    ],
)
def test_other_content_is_left_alone(hub: Hub, target: Path, make: Callable[[Path], None], message: str) -> None:
    make(target)
    before = {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()}
    refused(hub, target, message, "--output", accept=never_asked)
    assert {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()} == before
    assert hub.log == []


def test_a_place_that_cannot_be_written_is_named(hub: Hub, target: Path) -> None:
    target.write_text("a file")
    refused(hub, target / "base", str(target), "cannot be written (Not a directory)", "--output")


# Other revisions


def test_another_revision_is_checked_against_what_the_hub_states(hub: Hub, target: Path) -> None:
    done = get(hub, target, "next")
    note = assert_complete(target)
    assert (note["revision"], note["asked"]) == (NEXT, "next")
    assert {name: file.check for name, file in done.source.files.items()} == {
        name: "sha256, stated by the hub" if is_large(name) else "git blob, stated by the hub" for name in FILES
    }
    for revision in (NEXT, "next"):
        assert get(hub, target, revision, accept=never_asked).downloaded == ()
    hub.revisions["next"] = COMMIT
    refused(hub, target, f"at {NEXT}, not at {COMMIT}", revision="next")


@pytest.mark.parametrize("name", ["config.json", "model.pth"])
def test_a_file_of_another_revision_that_does_not_match_is_refused(hub: Hub, target: Path, name: str) -> None:
    hub.sends = {name: some_bytes("another", len(FILES[name]))}
    digest = hashlib.sha256(FILES[name]).hexdigest() if is_large(name) else git_blob(FILES[name])
    refused(hub, target, f"not {digest} (", "stated by the hub)", revision="next")
    assert not target.exists()


def test_a_branch_at_the_pinned_commit_is_checked_by_what_is_pinned(hub: Hub, target: Path) -> None:
    pins = manifest()
    wrong = (*pins.files[:-1], BaseFile("model.pth", 300_000, "0" * 64))
    refused(hub, target, "(sha256, pinned)", revision="main", manifest=replace(pins, files=wrong))


@pytest.mark.parametrize(
    "change", [{}, {"sha": None}, {"siblings": []}, {"siblings": [{"rfilename": n} for n in FILES]}]
)
def test_a_hub_that_does_not_say_enough_is_refused(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Of mirrors that answer in part."""
    real = json.dumps
    monkeypatch.setattr("tests.hub.json.dumps", lambda info: real({**info, **change}) if change else "<html>")
    message = refused(hub, target, revision="next")
    assert any(part in message for part in ("as a hub does", "which commit", "lacks LICENSE.txt", "no digest")), message


# What a hub refuses


@pytest.mark.parametrize(
    ("path", "status", "code", "parts"),
    [
        ("/resolve/", 401, "", ["refuses coqui/XTTS-v2 (401)", "HF_TOKEN"]),
        ("/resolve/", 403, "GatedRepo", ["refuses coqui/XTTS-v2 (403)", "HF_TOKEN"]),
        ("/api/", 401, "RepoNotFound", ["refuses coqui/XTTS-v2 (401)", "HF_TOKEN"]),
        ("/resolve/", 404, "RevisionNotFound", ["has no revision", "--revision"]),
        ("/api/", 404, "RevisionNotFound", ["has no revision 'next'", "--revision"]),
        ("dvae.pth", 404, "EntryNotFound", ["has no dvae.pth"]),
        ("/api/", 500, "", ["answered 500", "try later"]),
        ("/resolve/", 418, "", ["answered 418"]),
    ],
)
def test_refusals_of_the_hub_are_one_line(
    hub: Hub, target: Path, path: str, status: int, code: str, parts: Sequence[str]
) -> None:
    hub.statuses = [(path, status, code)]
    refused(hub, target, *parts, "127.0.0.1", revision="next" if path == "/api/" else None)
    assert not target.exists()
    assert path == "dvae.pth" or not (target.parent / PARTS).exists()


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [
        ("http://127.0.0.1:9", "cannot be reached"),
        ("127.0.0.1", "must be a URL"),
        ("http://127.0.0.1:port", "HF_ENDPOINT"),
    ],
)
@pytest.mark.parametrize("revision", [None, "main"])
def test_a_hub_that_is_not_there_is_said_at_once(
    hub: Hub, target: Path, endpoint: str, part: str, revision: str | None
) -> None:
    if endpoint.endswith(":9"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            endpoint = f"http://user:{TOKEN}@127.0.0.1:{probe.getsockname()[1]}"
    message = refused(hub, target, part, "HF_ENDPOINT", endpoint=endpoint, waits=(99,), revision=revision)
    assert TOKEN not in message
    assert not [*target.parent.iterdir()]


def test_amounts_are_read_as_the_hub_shows_them() -> None:
    shown = {107: "107 B", 4_014: "4.0 kB", 7_754_818: "7.8 MB", 1_867_929_118: "1.87 GB"}
    assert {size: amount(size) for size in shown} == shown
