"""Bad input by the thousand: each parser ends in one clear line or reads what was meant. `make fuzz` is the long form.

Examples that are right are cut, spliced and broken, as bytes. An input may take five seconds of processor time.
"""

import io
import json
import os
import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from search.commands import enqueue, notify
from search.commands.options import overrides
from search.confirmation import export
from search.errors import UserError
from search.preparation import tables, vocabulary
from search.settings import best_config
from search.settings.sections import Data
from search.settings.settings import load, resolve
from search.study import findings
from search.tools import checkpoint_tables
from search.tools.run_folder import inspect_runs
from search.training import base
from search.training.tensor_file import read_tensors
from tests.conftest import ROOT
from tests.studies import three_trials
from tests.test_coqui_log import NEW

CANARY = "hunter2"
CPU_SECONDS = 5.0  # of an input; other processes do not count
DEEP = 5000  # more levels than Python's stack has
EXAMPLE = (ROOT / "study.example.toml").read_bytes()
SPACE = (ROOT / "space" / "presets" / "xtts-v2.toml").read_bytes()
POINTS = b"[[points]]\nlr = 1e-4\nweight_decay = 0.1\nmilestones = [0.3, 0.6]\ngamma = 0.5\nclip_norm = 1.0\n"
TABLE = 'audio_file|text|speaker_name\nwavs/a.wav|ሰላም, all|anna\nwavs/b.wav|"two"|ben\nwavs/c.wav|x|ben\n'.encode()
CSV = b"step,mel_ce,text_ce,probe_mel_ce,probe_text_ce\n0,3.5,5,3.4,5\n10,3.1,4.9,3.0,4.8\n"
CONFIG = b'{"grad_clip": 0, "model_args": {"gpt_loss_text_ce_weight": 0.01}, "datasets": [{"path": "a"}], "lr": 5e-6}'

# Pieces that break parsers: numbers, marks, letters of control, encodings, and depth.
BITS = [
    b"7", b"0.5", b"nan", b"-inf", b"1e400", b"9" * 5000, b"-1", b"0", b"true", b"null", b'""', b"{}", b"[]", b"[[[",
    b'"', b"'",
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b"\t", b"|", b";", b"\xed\xa0\x80", b"\x1b[31m",
    "\u202e".encode(), "\u2028".encode(), b'"\\u001b[2J" = 1\n', b'"\\u202e" = 1\n', b"a.b.c = 1\n", b"x" * 3000,
    b"[" * DEEP, b'{"a":' * DEEP, b"a=" + b"[" * DEEP, b"=", b"{value = 1}", b"1979-05-27T07:32:00Z",
]  # fmt: skip
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(BITS) | st.binary(max_size=6)), max_size=4
)


def broken(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Each of `valid` with some places overwritten, perhaps cut; or bytes of any kind, or a value that is replaced."""

    def edited(content: bytes, edits: list[tuple[float, int, bytes]], keep: float) -> bytes:
        for place, width, bit in edits:
            at = int(place * len(content))
            content = content[:at] + bit + content[at + width :]
        return content[: int(keep * len(content))] if keep < 0.5 else content

    def revalued(content: bytes, place: float, bit: bytes) -> bytes:
        lines = content.split(b"\n")
        at = int(place * (len(lines) - 1))
        key, equals, old = lines[at].lstrip(b"# ").partition(b":" if content[:1] == b"{" else b"=")
        comma = b"," if old.endswith(b",") else b""
        lines[at] = key + equals + b" " + bit + comma if equals else bit
        return b"\n".join(lines)

    some = st.sampled_from(valid)
    places, bits = st.floats(0, 1), st.sampled_from(BITS)
    return (
        st.builds(edited, some, EDITS, places) | st.builds(revalued, some, places, bits) | st.binary(max_size=60) | some
    )


@contextmanager
def limited() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise AssertionError(f"more than {CPU_SECONDS:g} s")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


COUNTS: dict[str, Counter[str]] = {}


def outcome(parser: str, read: Callable[[], Any]) -> Any:
    """What `read` returns; None where it refuses the input in one printable line. Any other exception is a failure."""
    counts = COUNTS.setdefault(parser, Counter())
    try:
        with limited():
            result = read()
    except UserError as error:
        told = str(error)
        assert told and told.isprintable(), ascii(told)
        assert CANARY not in told, told
        counts["refused"] += 1
        return None
    counts["accepted"] += 1
    return result


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    yield
    for parser, counts in sorted(COUNTS.items()):
        told = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("refused", "accepted"))
        print(f"{parser}: {sum(counts.values()):,} inputs, {told}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, miniature: Path) -> Iterator[Path]:  # noqa: ARG001
    """The working folder, which is empty but for what the tests write. The miniature is made before."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


fuzz = settings(deadline=None, suppress_health_check=list(HealthCheck))


@fuzz
@given(broken(EXAMPLE, b"[study]\nname = 'a'\ntrials = 4\n[training]\nepochs = 3\n[confirm]\nrates = [0.5]\n"))
@example(b"a = " + b"[" * DEEP)
@example(b"[study]\ntrials = " + b"9" * 5000)
@example(b'[study]\n"\\u001b[2J" = 1')
def test_study_toml(place: Path, content: bytes) -> None:
    path = put(place / "a" / "study.toml", content)
    found = outcome("study.toml", lambda: load(path, {}))
    if found and "***" not in found.to_toml():
        written = put(place / "b" / "study.toml", found.to_toml().encode())
        assert load(written, {}).to_toml() == found.to_toml()


@fuzz
@given(broken(SPACE))
def test_space_file(place: Path, content: bytes) -> None:
    path = put(place / "space.toml", content)
    if found := outcome("space file", lambda: resolve({}, {"space.file": str(path)}, None)):
        space = found.search_space()
        for baseline in space.baselines:
            params, _ = space.to_params(baseline.hyperparameters)
            assert space.to_params(space.from_params(params))[1] == []


@fuzz
@given(broken(POINTS))
def test_points(place: Path, content: bytes) -> None:
    path = put(place / "points.toml", content)
    for point in outcome("points", lambda: enqueue.read(path)) or []:
        assert type(point)(**json.loads(json.dumps(point.to_dict(), allow_nan=False))) == point


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    study, of_it = three_trials(tmp_path_factory.mktemp("three"))
    return export.to_json(export.build(findings.read(study), of_it, study.user_attrs)).encode()


KEYS = st.sampled_from(["study.trials", "study.name", "data.path", "space.file", "training.epochs", "study.until", "a"])


@fuzz
@given(
    st.builds("{}={}".format, KEYS, st.sampled_from(BITS).map(lambda b: b.decode("latin-1")) | st.text()) | st.text()
)
@example("study.trials=" + "[" * DEEP)
@example("study.trials=" + "9" * 5000)
@pytest.mark.usefixtures("place")
def test_set(entry: str) -> None:
    outcome("--set", lambda: resolve({}, overrides({"set_": [entry]}), None))


@fuzz
@given(broken(TABLE, TABLE.replace(b"|", b"\t"), TABLE.replace(b"|", b",")), st.sampled_from(["coqui", "ljspeech"]))
def test_table(place: Path, content: bytes, formatter: str) -> None:
    for name in "abc":
        put(place / "data" / "wavs" / f"{name}.wav", b"")
    put(place / "data" / "train.csv", content)
    data = Data(path=place / "data", formatter=formatter)
    if rows := outcome("table", lambda: tables.read(data, place / "data")):
        assert len(rows.train) <= len(content)
        assert all(row["audio_file"] and "\n" not in str(row["text"]) for row in rows.train)


@fuzz
@given(st.data())
def test_best_config(place: Path, exported: bytes, data: st.DataObject) -> None:
    path = put(place / "best_config.json", data.draw(broken(exported)))
    if found := outcome("best_config.json", lambda: best_config.read(path)):
        assert best_config.read(put(path, export.to_json(found).encode())) == found


@pytest.mark.parametrize("content", [b"[" * DEEP, b'{"version": 4, "\\u001b[2J": 1}'])
def test_best_config_that_is_deep_or_has_an_escape_is_refused(place: Path, content: bytes) -> None:
    assert outcome("best_config.json", lambda: best_config.read(put(place / "best_config.json", content))) is None


@fuzz
@given(broken(NEW.encode()), broken(CONFIG), st.none() | st.integers(1, 64))
def test_coqui_run(place: Path, log: bytes, config: bytes, given_accumulation: int | None) -> None:
    put(place / "run" / "trainer_0_log.txt", log)
    put(place / "run" / "config.json", config)
    if found := outcome("coqui's log and config.json", lambda: inspect_runs(place / "run", given_accumulation)):
        with limited():
            assert json.loads(checkpoint_tables.to_json(found))["runs"]


@fuzz
@given(broken(CSV))
def test_evaluations(place: Path, content: bytes) -> None:
    put(place / "ours" / "evaluations.csv", content)
    if found := outcome("evaluations.csv", lambda: inspect_runs(place / "ours", None)):
        assert len(found.runs[0].evaluations) <= len(content)
        with limited():
            json.loads(checkpoint_tables.to_json(found))


class Runs:
    """A pickle of it makes a file when it is loaded."""

    def __reduce__(self) -> Any:
        return open, ("executed", "w")


def saved(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


WEIGHTS = [
    *(saved({"model": {"a": torch.ones(2)}, "more": m}, old) for m in (0, Runs()) for old in (False, True)),
    saved(torch.ones(80, dtype=torch.int8)), saved([1, "a"]), saved({"a": torch.ones(2, 2).half()}),
    pickle.dumps(Runs()),
]  # fmt: skip


@fuzz
@given(broken(*WEIGHTS))
@example(WEIGHTS[2])
@example(WEIGHTS[3])
def test_weights(place: Path, content: bytes) -> None:
    path = put(place / "model.pth", content)
    outcome("weights", lambda: base.read_weights(path))
    outcome("saved state", lambda: read_tensors(path))
    assert not (place / "executed").exists()


@fuzz
@given(st.data())
def test_vocabulary(place: Path, miniature: Path, data: st.DataObject) -> None:
    content = data.draw(broken((miniature / "vocab.json").read_bytes()))
    found = outcome("vocab.json", lambda: vocabulary.read(put(place / "vocab.json", content), "base.path"))
    assert found is None or found.rows >= len(set(found.ids.values()))


SCHEMES = st.sampled_from(["postgresql", "sqlite", "s3", "mysql", "json", "tgram", "mailto", "x"])
PARTS = st.text("@:/?#[]%&=+ '\"\\\n\x1b\u202e\0a1ሀ", max_size=8)
URLS = st.builds("{}://me:{}{}{}@{}".format, SCHEMES, PARTS, st.just(CANARY), PARTS, PARTS)


@fuzz
@given(URLS)
@pytest.mark.usefixtures("place")
def test_urls(url: str) -> None:
    """All of these hold a password; the study's settings show none, taken or refused."""
    for key in ("study.storage", "study.artifacts", "data.path", "study.name"):
        if found := outcome(key, lambda key=key: resolve({}, {key: url}, None)):
            assert CANARY not in found.to_toml()
    outcome("--notify", lambda: notify._open(url))
