"""Decoding and encoding on all cores: the same on one, kept once, and never done again."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
from TTS.tts.models.xtts import load_audio

from search.errors import UserError
from search.preparation import cache as machine_cache
from search.preparation import parallel, recordings
from search.preparation.parallel import on_all_cores
from search.preparation.places import locate
from search.preparation.prepare import key_of, prepare
from search.preparation.surveying import Sources
from search.preparation.tables import Rows
from search.settings.settings import Settings, load
from search.training import corpus
from search.training.evaluation import evaluation_sets, read_sets
from search.training.run import build, run_trial
from search.trial import Prepared, TrialSpec
from tests.conftest import ROOT

RATE = 22_050
FORK = multiprocessing.get_context("fork")  # processes with torch loaded
Make = Callable[..., TrialSpec]


@pytest.fixture
def speech(cache: Path, tmp_path: Path) -> Path:
    """A copy of some of the miniature's speech, and of nothing else: more clips than one process would decode."""
    folder = tmp_path / "speech"
    shutil.copytree(locate(load(None, {}), cache, lambda _: None)[0], folder)
    for table, count in (("train.csv", 14), ("eval.csv", 4)):
        lines = (folder / table).read_text(encoding="utf-8").splitlines()
        (folder / table).write_text("\n".join(lines[: 1 + count]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def own_cache(miniature: Path, tmp_path: Path) -> Path:
    """A cache with nothing in it but the miniature base."""
    shutil.copytree(miniature, tmp_path / "cache" / miniature.name, copy_function=os.link)
    return tmp_path / "cache"


def settings(speech: Path, **overrides: object) -> Settings:
    given = {"data.path": str(speech), "data.eval": "eval.csv", "data.language": "am", "training.accumulation": 1}
    return load(None, {**given, **overrides})


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: count)


def test_all_cores_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = list(range(101))
    offset = 1000  # of a closure, which could not be sent to a process

    def make(number: int) -> tuple[int, int]:
        if number < 0:
            raise UserError(f"no {number}")
        time.sleep(0.01 * (number % 3 == 0))
        return number + offset, os.getpid()

    cores(monkeypatch, 3)
    with pytest.raises(UserError, match="no -20"):
        list(on_all_cores(make, [*numbers, -20]))
    found = list(on_all_cores(make, numbers))
    assert [value for value, _ in found] == [number + 1000 for number in numbers]
    assert len({process for _, process in found}) == 3
    cores(monkeypatch, 1)
    assert {process for _, process in on_all_cores(make, numbers)} == {os.getpid()}


def test_workers_die_with_their_parent() -> None:
    script = """
import time
import torch
from search.preparation import parallel
torch.set_num_threads(1)
parallel.cores = lambda: 2
list(parallel.on_all_cores(lambda i: print("up\\n", end="", flush=True) or time.sleep(600), range(16)))
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert [parent.stdout.readline().strip() for _ in range(2)] == ["up", "up"]
    workers = psutil.Process(parent.pid).children()
    assert len(workers) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], gone


def test_waveforms_are_those_of_coquis_loader(tmp_path: Path) -> None:
    """Rates, channels, formats and depths; each content once, whatever its name."""
    time_axis = np.arange(30_000) / 20
    files = []
    for name, rate, channels, subtype in (
        ("a.wav", RATE, 1, "PCM_16"), ("b.wav", 44_100, 2, "PCM_24"), ("c.flac", 16_000, 1, "PCM_16"),
        ("d.ogg", 48_000, 2, "VORBIS"), ("e.mp3", 44_100, 1, "MPEG_LAYER_III"), ("f.wav", 8_000, 6, "FLOAT"),
        ("አንድ ሁለት.wav", 24_000, 1, "PCM_U8"),
    ):  # fmt: skip
        loudness = 2 if subtype == "FLOAT" else 0.3  # beyond full scale: cut
        wave = loudness * np.sin(time_axis)[:, None] * np.ones(channels)
        soundfile.write(tmp_path / name, wave, rate, subtype=subtype)
        files.append(str(tmp_path / name))
    files += [str(shutil.copy(tmp_path / "a.wav", tmp_path / name)) for name in ("named.flac", "again.wav")]
    known = recordings.digests(files)
    recordings.write(known, RATE, 11.6, tmp_path, lambda _done, _total: None)
    found = recordings.read(known, tmp_path)
    kept = np.fromfile(found.waveforms, np.float32)
    for file in files:
        first, samples = found.found[file].first_sample, found.found[file].samples
        assert torch.equal(torch.from_numpy(kept[first : first + samples])[None], load_audio(file, RATE))
    assert found.found[files[0]].first_sample == found.found[files[-1]].first_sample
    assert len(kept) == sum(found.found[file].samples for file in files[:-1])
    # A remark stays with the name that it is of.
    assert [found.found[file].remark for file in files[-2:]] == ["is WAV, and is named .flac", None]
    assert found.found[files[5]].channels == 6


def test_what_is_found_in_a_recording(tmp_path: Path) -> None:
    wave = np.zeros(RATE)
    wave[: RATE // 2] = 1.0
    wave[1 : RATE // 2 : 2] = -1.0
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    found, _ = recordings.decode(str(tmp_path / "a.wav"), RATE)
    values = (found.peak, found.clipped, found.silent, found.rms, found.offset)
    assert values == pytest.approx((1.0, 0.5, 0.5, 0.5**0.5, 0.0), abs=0.03)
    soundfile.write(tmp_path / "b.wav", np.zeros(0), RATE)
    empty, wav = recordings.decode(str(tmp_path / "b.wav"), RATE)
    assert wav.shape[-1] == 0 and recordings.usable(empty, 11.6)


def test_the_cache_s_names_cover_all_that_their_content_depends_on(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "train.csv", "eval.csv"):
        (tmp_path / name).write_bytes(b"a")
    a, b, none = (str(tmp_path / name) for name in ("a.wav", "b.wav", "none.wav"))
    known = recordings.digests([a, b, none])
    assert known[a] == known[b] != known[none] == ""  # a file that cannot be read
    key = recordings.store_key({a: known[a]}, RATE, 11.6)
    assert recordings.store_key({a: known[a], b: known[b]}, RATE, 11.6) == key  # by content
    others = [({a: known[a]}, 24_000, 11.6), ({a: known[a]}, RATE, 5.0), (known, RATE, 11.6)]
    assert len({key, *(recordings.store_key(*other) for other in others)}) == 4

    rows = Rows([{"audio_file": "a.wav"}], [{"audio_file": "b.wav"}])
    given, digests = settings(tmp_path), ("data", "base")
    sources = Sources(tmp_path, tmp_path, rows, recordings.Recordings({}, tmp_path), given.data, [], None)
    changes = [{"study.seed": 7}, {"training.eval_batch_size": 3}, {"base.extend_vocabulary": False}]
    names = {
        key_of(given, sources, digests, tmp_path),
        key_of(given, sources, ("other", "base"), tmp_path),
        key_of(given, replace(sources, rows=Rows(rows.train, [{"audio_file": "c.wav"}])), digests, tmp_path),
        *(key_of(settings(tmp_path, **change), sources, digests, tmp_path) for change in changes),
    }
    assert len(names) == 6
    assert key_of(settings(tmp_path, **{"study.trials": 3}), sources, digests, tmp_path) in names


def test_a_study_is_prepared_once_and_trained_without_its_audio(
    speech: Path, own_cache: Path, tmp_path: Path, make_spec: Make
) -> None:
    """With Ethiopic numerals and punctuation, and a file of two rows: no clip is lost, and none is encoded twice."""
    signs = ("። ፣ ፤ ፥ ፦ ፧ ፨ ፠", "፩ ፪፫፬፭ ፮፯፰፱ ፲ ፳፴፵ ፶፷፸፹፺ ፻ ፼", "ሰላም፡ለዓለም፡፡")
    header, *rows = (speech / "train.csv").read_text(encoding="utf-8").splitlines()
    cells = [row.split("|") for row in [*rows, rows[1]]]
    changed = ["|".join([file, f"{text} {signs[i % 3]}", *rest]) for i, (file, text, *rest) in enumerate(cells)]
    (speech / "train.csv").write_text("\n".join([header, *changed]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"service.cache_gb is 1e-06, and the decoded audio of .* needs about"):
        prepare(settings(speech, **{"service.cache_gb": 1e-6}), own_cache, lambda _: None)
    assert [entry.kind for entry in machine_cache.entries(own_cache)] == ["miniature-base"]  # nothing was decoded

    said: list[str] = []
    prepared = prepare(settings(speech), own_cache, said.append)
    assert any(text.startswith("decoding audio") for text in said)
    assert (prepared.dropped, prepared.train_clips) == ([], len(cells))
    assert set("። ፣ ፤ ፥ ፦ ፧ ፨ ፠ ፡ ፩ ፲ ፻ ፼".split()) <= set(prepared.added_tokens)
    clips = corpus.load(Path(prepared.directory) / "corpus")
    second, last = clips.train[1], clips.train[-1]
    assert (second.audio_file, second.first_code) == (last.audio_file, last.first_code)
    assert not torch.equal(clips.tokens(second), clips.tokens(last))
    assert len(clips.audio_codes) == sum({c.audio_file: c.codes for c in (*clips.train, *clips.eval)}.values())

    speech.rename(tmp_path / "away")
    assert all(e.is_finite for e in run_trial(make_spec(2, prepared=prepared.directory)).evaluations)
    said.clear()
    prepare(settings(tmp_path / "away"), own_cache, said.append)
    assert not any(text.startswith("decoding audio") for text in said)
    with pytest.raises(UserError, match=r"optimizer steps, fewer than the 5 that a trial needs"):  # judged again
        prepare(settings(tmp_path / "away", **{"training.steps": 4}), own_cache, said.append)


@pytest.mark.full
def test_two_searches_prepare_a_study_once_on_any_number_of_cores(
    speech: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(log: Path) -> None:
        with open(log, "w", encoding="utf-8") as file:
            prepare(settings(speech), own_cache, lambda text: print(text, file=file, flush=True))

    shutil.copytree(own_cache, tmp_path / "other")
    cores(monkeypatch, 3)
    logs = [tmp_path / "one.txt", tmp_path / "other.txt"]
    both = [FORK.Process(target=search, args=(log,)) for log in logs]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    said = [log.read_text(encoding="utf-8") for log in logs]
    assert sum("decoding audio" in text for text in said) == sum("computing audio codes" in text for text in said) == 1
    assert sorted(entry.kind for entry in machine_cache.entries(own_cache)) == [
        "miniature-base", "prepared", "recordings"
    ]  # fmt: skip

    cores(monkeypatch, 1)
    one = prepare(settings(speech), tmp_path / "other", lambda _: None)
    three = prepare(settings(speech), own_cache, lambda _: None)
    for name in ("waveforms.f32", "codes.i32", "tokens.i32", "clips.json"):
        assert Path(one.directory, "corpus", name).read_bytes() == Path(three.directory, "corpus", name).read_bytes()
    assert {**one.base_evaluation, "seconds": 0} == {**three.base_evaluation, "seconds": 0}


def test_kept_evaluation_batches_are_those_made_anew(prepared: Prepared, make_spec: Make) -> None:
    size = 20
    run = build(make_spec(2, eval_batch_size=size))
    kept = read_sets(Path(prepared.directory), size)
    assert kept is not None
    assert read_sets(Path(prepared.directory), size + 1) is None
    made = evaluation_sets(run.trainer.model, run.corpus, prepared.probe_clips, prepared.seed, size)
    for mine, theirs in ((kept.eval, made.eval), (kept.probe, made.probe)):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert one.keys() == other.keys()
            for name, value in one.items():
                torch.testing.assert_close(value, other[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.full
def test_another_processor_prepares_the_same_but_for_rounding(prepared: Prepared, own_cache: Path) -> None:
    """Machines that share a cache use what one of them made; those that do not come this close (docs/cache.md)."""
    script = """
import sys
from pathlib import Path
from search.settings.settings import load
from search.preparation.prepare import prepare
print(prepare(load(None, {}), Path(sys.argv[1]), lambda _: None).to_json())
"""
    plain = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    environment = {**os.environ, **plain}
    done = subprocess.run(
        [sys.executable, "-c", script, str(own_cache)], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    other = Prepared.from_json(done.stdout.splitlines()[-1].decode())
    for name in ("codes.i32", "tokens.i32", "waveforms.f32"):
        one, two = (Path(p.directory, "corpus", name).read_bytes() for p in (prepared, other))
        assert one == two, name
    for name, value in prepared.base_evaluation.items():
        if name.endswith("_ce"):
            assert other.base_evaluation[name] == pytest.approx(value, rel=1e-6)
