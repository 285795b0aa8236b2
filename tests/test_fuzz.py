"""Bad input by the thousand: each parser ends in one clear line or reads what was meant. `make fuzz` is the long form.

Examples that are right are cut, spliced and broken, as bytes. An input may take five seconds of processor time.
"""

import io
import json
import math
import multiprocessing
import os
import pickle
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from search.commands import enqueue, notify
from search.commands.options import overrides
from search.confirmation import export
from search.errors import UserError
from search.preparation import base_check, tables, vocabulary
from search.preparation.base_check import config_for
from search.preparation.parentage import new_rows
from search.settings import best_config
from search.settings.sections import Data
from search.settings.settings import load, resolve
from search.study import findings, recorded
from search.text import without_passwords
from search.tools import checkpoint_tables
from search.tools.run_folder import inspect_runs
from search.training import base
from search.training.tensor_file import read_tensors
from search.trial import StopReason
from search.workers.following import Following
from search.workers.launcher import Child
from tests.conftest import ROOT
from tests.fuzzing import SECRET, TOKENS, bytes_of, json_of, toml_of
from tests.studies import PREPARED, three_trials
from tests.test_coqui_log import NEW

CPU_SECONDS = 5.0  # of an input; other processes do not count
DEEP = 5000  # more levels than Python's stack has
EXAMPLE = re.sub(rb"(?m)^#(\w+ = )", rb"\1", (ROOT / "study.example.toml").read_bytes())
STUDIES = (
    load(None, {}).to_toml().encode(),
    b'[study]\nname = "a"\ntrials = 3\ngpu_hours = 1.5\nuntil = "+6h"\n'
    b"[training]\nsteps = 100\n[confirm]\nrates = [0.5]\n",
    b'[data]\npath = "."\ntrain = "train.csv"\n[base]\npath = "."\n'
    b'[space]\npreset = "xtts-v2"\n[speech]\nsentences = 2\n',
    f'[study]\nstorage = "postgresql://me:{SECRET}@host/xtts?sslmode=require"\nartifacts = "s3://bucket"\n'.encode(),
)
SPACE = (ROOT / "space" / "presets" / "xtts-v2.toml").read_bytes()
POINTS = b"[[points]]\nlr = 1e-4\nweight_decay = 0.1\nmilestones = [0.3, 0.6]\ngamma = 0.5\nclip_norm = 1.0\n"
TABLE = 'audio_file|text|speaker_name\nwavs/a.wav|ሰላም, all|anna\nwavs/b.wav|"two"|ben\nwavs/c.wav|x|ben\n'.encode()
TABLES = [TABLE, TABLE.replace(b"|", b"\t"), TABLE.replace(b"|", b","), TABLE.decode().encode("utf-16")]
LOGS = [NEW.encode(), NEW.encode().replace(b"\n", b"\r\n"), NEW.encode("utf-16")]
CSV = b"step,mel_ce,text_ce,probe_mel_ce,probe_text_ce\n0,3.5,5,3.4,5\n10,3.1,4.9,3.0,4.8\n"
CONFIG = b'{"grad_clip": 0, "model_args": {"gpt_loss_text_ce_weight": 0.01}, "datasets": [{"path": "a"}], "lr": 5e-6}'


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
        told = without_passwords(str(error))  # as it is printed
        assert told and told.isprintable(), ascii(told)
        assert SECRET not in told, told
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


SHORT = 40  # inputs a parser in `make test`
COUNT = settings.default.max_examples if settings.default.max_examples > 100 else SHORT
fuzz = settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))


@fuzz
@given(toml_of(*STUDIES))
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
@given(toml_of(SPACE))
def test_space_file(place: Path, content: bytes) -> None:
    path = put(place / "space.toml", content)
    if found := outcome("space file", lambda: resolve({}, {"space.file": str(path)}, None)):
        space = found.search_space()
        for baseline in space.baselines:
            params, _ = space.to_params(baseline.hyperparameters)
            assert space.to_params(space.from_params(params))[1] == []


@fuzz
@given(toml_of(POINTS))
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
    st.builds("{}={}".format, KEYS, st.sampled_from(TOKENS).map(lambda token: token.decode("latin-1")) | st.text())
    | st.text()
)
@example("study.trials=" + "[" * DEEP)
@example("study.trials=" + "9" * 5000)
@pytest.mark.usefixtures("place")
def test_set(entry: str) -> None:
    outcome("--set", lambda: resolve({}, overrides({"set_": [entry]}), None))


@fuzz
@given(bytes_of(TABLES), st.sampled_from(["coqui", "ljspeech"]))
@example(b"|", "coqui")
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
    path = put(place / "best_config.json", data.draw(json_of(exported)))
    if found := outcome("best_config.json", lambda: best_config.read(path)):
        assert best_config.read(put(path, export.to_json(found).encode())) == found


@pytest.mark.parametrize("content", [b"[" * DEEP, b'{"version": 4, "\\u001b[2J": 1}'])
def test_best_config_that_is_deep_or_has_an_escape_is_refused(place: Path, content: bytes) -> None:
    assert outcome("best_config.json", lambda: best_config.read(put(place / "best_config.json", content))) is None


@fuzz
@given(bytes_of(LOGS), json_of(CONFIG), st.none() | st.integers(1, 64))
def test_coqui_run(place: Path, log: bytes, config: bytes, given_accumulation: int | None) -> None:
    put(place / "run" / "trainer_0_log.txt", log)
    put(place / "run" / "config.json", config)
    if found := outcome("coqui's log and config.json", lambda: inspect_runs(place / "run", given_accumulation)):
        with limited():
            assert json.loads(checkpoint_tables.to_json(found))["runs"]


@fuzz
@given(bytes_of([CSV]))
@example(CSV.replace(b"3.4,", b"0,"))
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
@given(bytes_of(WEIGHTS))
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
    content = data.draw(json_of((miniature / "vocab.json").read_bytes()))
    found = outcome("vocab.json", lambda: vocabulary.read(put(place / "vocab.json", content), "base.path"))
    assert found is None or found.rows >= len(set(found.ids.values()))


SCHEMES = st.sampled_from(["postgresql", "sqlite", "s3", "mysql", "json", "tgram", "mailto", "x"])
PARTS = st.text("@:/?#[]%&=+ '\"\\\n\x1b\u202e\0a1ሀ", max_size=8)
URLS = st.builds("{}://me:{}{}{}@{}".format, SCHEMES, PARTS, st.just(SECRET), PARTS, PARTS)


@fuzz
@given(URLS)
@pytest.mark.usefixtures("place")
def test_urls(url: str) -> None:
    """All of these hold a password; the study's settings show none, taken or refused."""
    for key in ("study.storage", "study.artifacts", "data.path", "study.name"):
        if found := outcome(key, lambda key=key: resolve({}, {key: url}, None)):
            assert SECRET not in found.to_toml()
    outcome("--notify", lambda: notify._open(url))


@fuzz
@given(json_of(b'{"version": 1, "tokens": 80, "new_rows": [70, 71], "letters": ["a"]}'))
def test_extension(place: Path, content: bytes) -> None:
    put(place / "extended" / "extension.json", content)
    if found := outcome("extension.json", lambda: new_rows(place / "extended")):
        assert all(row >= 0 for row in found)


@fuzz
@given(st.data())
def test_base_folder(place: Path, miniature: Path, data: st.DataObject) -> None:
    """One file of a base is spoiled, or another one of its files."""
    name = data.draw(st.sampled_from(["config.json", "vocab.json", "mel_stats.pth", "dvae.pth", "model.pth"]))
    seeds = [(miniature / each).read_bytes()[:100_000] for each in ("config.json", "vocab.json", "mel_stats.pth")]
    folder = place / "base"
    folder.mkdir(exist_ok=True)
    for file in miniature.iterdir():
        (folder / file.name).unlink(missing_ok=True)
        (folder / file.name).symlink_to(file)
    (folder / name).unlink()
    put(folder / name, data.draw(json_of(seeds[0]) if name == "config.json" else bytes_of(seeds)))
    outcome("folder of a base", lambda: base_check.refuse_broken(folder))
    outcome("config.json of a base", lambda: config_for(resolve({}, {}, None), folder))


PREPARED_JSON = PREPARED.to_json().encode()
RUN = (
    b'{"evaluations": [{"step": 4, "mel_ce": 2.5, "text_ce": 1, "probe_mel_ce": 2.4, "probe_text_ce": 1}], "record": 0}'
)
KEPT = b'{"files": {"state-x": 5}, "current": "state-x", "step": 3}'


@fuzz
@given(json_of(RUN, KEPT, PREPARED_JSON))
def test_attributes(content: bytes) -> None:
    """What stands in the study's database, to which many may write, is read as something, or as nothing."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return  # the database holds JSON

    def read() -> None:
        run = {name: recorded.part(value, name) for name in ("evaluations", "record")}
        assert all(type(each.mel_ce) is float for each in recorded.evaluations(run["evaluations"]))
        recorded.record(run["record"])
        recorded.speech(value)
        recorded.prepared(value)
        assert all(name.startswith(recorded.STATE_FILE) for name in recorded.kept(value).files)

    outcome("attributes", read)


MESSAGES = (
    b'{"kind": "evaluation", "step": 4, "mel_ce": 2.5, "text_ce": 1.0, "probe_mel_ce": 2.4, "probe_text_ce": 1.0}',
    b'{"kind": "trained", "reason": "finished", "record": {}}', b'{"kind": "note", "text": "a"}', b'{"kind": "alive"}',
    b'{"kind": "saved", "step": 3}', b'{"kind": "end", "result": {"reason": "finished", "record": {}}}',
)  # fmt: skip


@fuzz
@given(st.lists(json_of(*MESSAGES), min_size=1, max_size=4))
def test_messages_of_a_child(messages: list[bytes]) -> None:
    """Whatever comes through its pipe, its run ends for a reason, and its evaluations are numbers."""
    ours, theirs = multiprocessing.Pipe()
    for message in messages:
        theirs.send_bytes(message[:20_000])
    theirs.close()
    process: Any = SimpleNamespace(exitcode=1, pid=0, join=lambda *_: None, kill=lambda: None, is_alive=lambda: False)
    child = Child(process, ours, Path("log.txt"))
    anything: Any = MagicMock()
    anything.fired.return_value = None
    wanted = SimpleNamespace(study=SimpleNamespace(stall_minutes=60.0), speech=SimpleNamespace(recogniser=None))
    following = Following(0, child, anything, anything, anything, wanted, lambda _: None, anything)  # type: ignore[arg-type]
    ended = outcome("messages of a child", following.outcome)
    assert ended.reason in StopReason and all(math.isfinite(each.mel_ce) for each in ended.evaluations)
