"""Decoding and encoding on all cores: the same on one, kept once, and never done again."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
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
from search.preparation.prepare import Sources, key_of, prepare
from search.preparation.tables import Rows
from search.settings.settings import Settings, load
from search.training import corpus
from search.training.evaluation import evaluation_sets, read_sets
from search.training.run import build, run_trial
from search.trial import Evaluation, Prepared, TrialSpec
from tests.conftest import ROOT, as_another_user

RATE = 22_050
FORK = multiprocessing.get_context("fork")  # processes with torch loaded
Make = Callable[..., TrialSpec]


@pytest.fixture
def speech(cache: Path, tmp_path: Path) -> Path:
    """A copy of some of the miniature's speech, and of nothing else: more clips than one process would decode."""
    folder = tmp_path / "speech"
    shutil.copytree(locate(load(None, {}), cache, lambda _: None)[0], folder)
    for table, count in (("train.csv", 24), ("eval.csv", 6)):
        lines = (folder / table).read_text(encoding="utf-8").splitlines()
        (folder / table).write_text("\n".join(lines[: 1 + count]) + "\n", encoding="utf-8")
    return folder


def settings(speech: Path, **overrides: object) -> Settings:
    given = {"data.path": str(speech), "data.eval": "eval.csv", "data.language": "am", "training.accumulation": 1}
    return load(None, {**given, **overrides})


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: count)


def test_all_cores_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = list(range(101))
    offset = 1000  # of a closure, which could not be sent to a process

    def make(number: int) -> tuple[int, int]:
        time.sleep(0.01 * (number % 3 == 0))
        return number + offset, os.getpid()

    cores(monkeypatch, 3)
    found = list(on_all_cores(make, numbers))
    assert [value for value, _ in found] == [number + 1000 for number in numbers]
    assert len({process for _, process in found}) == 3
    cores(monkeypatch, 1)
    assert {process for _, process in on_all_cores(make, numbers)} == {os.getpid()}


def test_what_a_worker_raises_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(number: int) -> int:
        if number == 20:
            raise UserError("no 20")
        return number

    cores(monkeypatch, 2)
    with pytest.raises(UserError, match="no 20"):
        list(on_all_cores(make, list(range(30))))


def test_workers_die_with_their_parent() -> None:
    script = """
import time
import torch
from search.training import parallel
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
        wave = 0.3 * np.sin(time_axis)[:, None] * np.ones(channels)
        soundfile.write(tmp_path / name, wave, rate, subtype=subtype)
        files.append(str(tmp_path / name))
    shutil.copy(tmp_path / "a.wav", tmp_path / "again.wav")
    files.append(str(tmp_path / "again.wav"))
    known = recordings.digests(files)
    recordings.write(known, RATE, 11.6, tmp_path, lambda _done, _total: None)
    found = recordings.read(known, tmp_path)
    kept = np.fromfile(found.waveforms, np.float32)
    for file in files:
        first, samples = found.first_sample[file], found.found[file].samples
        assert torch.equal(torch.from_numpy(kept[first : first + samples])[None], load_audio(file, RATE))
    assert found.first_sample[files[0]] == found.first_sample[files[-1]]
    assert len(kept) == sum(found.found[file].samples for file in files[:-1])
    assert found.found[files[5]].channels == 6


def test_a_file_that_may_not_be_read_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        os.chmod(folder, 0o755)
        locked = Path(folder) / "locked.wav"
        soundfile.write(locked, np.sin(np.arange(RATE) / 20), RATE)
        locked.chmod(0o000)

        def refused() -> bool:
            found, wav = recordings.decode(str(locked), RATE)
            reason = str(recordings.usable(found, 11.6))
            return (
                reason.startswith("audio cannot be read: ")
                and wav.numel() == 0
                and not recordings.digests([str(locked)])[str(locked)]
            )

        assert as_another_user(refused)


def test_what_is_found_in_a_recording(tmp_path: Path) -> None:
    wave = np.zeros(RATE)
    wave[: RATE // 2] = 1.0
    wave[1 : RATE // 2 : 2] = -1.0
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    found, _ = recordings.decode(str(tmp_path / "a.wav"), RATE)
    assert found.peak == pytest.approx(1.0, abs=1e-4)
    assert found.clipped == pytest.approx(0.5, abs=1e-3)
    assert found.silent == pytest.approx(0.5, abs=0.03)
    assert found.rms == pytest.approx(0.5**0.5, abs=1e-3)
    assert abs(found.offset) < 1e-3
    soundfile.write(tmp_path / "b.wav", np.zeros(0), RATE)
    empty, wav = recordings.decode(str(tmp_path / "b.wav"), RATE)
    assert wav.shape[-1] == 0
    assert recordings.usable(empty, 11.6)


def test_what_lies_decoded_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    a, b, c = (str(tmp_path / name) for name in ("a.wav", "b.wav", "none.wav"))
    (tmp_path / "a.wav").write_bytes(b"a")
    shutil.copy(a, b)
    known = recordings.digests([a, b, c])
    assert known[a] == known[b] != known[c] == ""  # a file that cannot be read
    key = recordings.store_key({a: known[a]}, RATE, 11.6)
    assert recordings.store_key({a: known[a], b: known[b]}, RATE, 11.6) == key  # by content
    others = [({a: known[a]}, 24_000, 11.6), ({a: known[a]}, RATE, 5.0), (known, RATE, 11.6)]
    assert len({key, *(recordings.store_key(*other) for other in others)}) == 4


def test_a_prepared_study_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    rows = Rows([{"audio_file": "a.wav"}], [{"audio_file": "b.wav"}])
    sources = Sources(tmp_path, tmp_path, rows, recordings.Recordings({}, {}, tmp_path), "data", "base")
    for table in ("train.csv", "eval.csv"):
        (tmp_path / table).touch()
    given = settings(tmp_path)
    changed = [
        settings(tmp_path, **{"study.seed": 7}),
        settings(tmp_path, **{"training.eval_batch_size": 3}),
        settings(tmp_path, **{"base.extend_vocabulary": False}),
        settings(tmp_path, **{"data.min_conditioning_seconds": 0.7}),
    ]
    moved = Rows(rows.train, [{"audio_file": "c.wav"}])
    names = {
        key_of(given, sources, tmp_path),
        key_of(given, sources, tmp_path / "moved"),
        key_of(given, replace(sources, data_fingerprint="other"), tmp_path),
        key_of(given, replace(sources, base_fingerprint="other"), tmp_path),
        key_of(given, replace(sources, base=ROOT), tmp_path),
        key_of(given, replace(sources, rows=moved), tmp_path),
        *(key_of(other, sources, tmp_path) for other in changed),
    }
    assert len(names) == 6 + len(changed)
    assert key_of(settings(tmp_path, **{"study.trials": 3}), sources, tmp_path) in names


def test_a_remark_stays_with_the_name_that_it_is_of(tmp_path: Path) -> None:
    """A wav file under two names, of which one promises another kind."""
    right, wrong = str(tmp_path / "a.wav"), str(tmp_path / "b.flac")
    soundfile.write(right, 0.3 * np.sin(np.arange(RATE)), RATE)
    shutil.copy(right, wrong)
    known = recordings.digests([right, wrong])
    recordings.write(known, RATE, 11.6, tmp_path, lambda _done, _total: None)
    found = recordings.read(known, tmp_path).found
    assert [found[name].remark for name in (right, wrong)] == [None, "is WAV, and is named .flac"]
    assert [found[name].digest for name in (right, wrong)] == [known[right]] * 2


def test_samples_beyond_full_scale_are_cut_as_coqui_does(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", -2 * np.ones(RATE), RATE, subtype="FLOAT")
    found, wav = recordings.decode(str(tmp_path / "a.wav"), RATE)
    assert torch.equal(wav, load_audio(str(tmp_path / "a.wav"), RATE))
    assert float(wav.min()) == -1.0
    assert (found.peak, found.clipped) == (2.0, 1.0)  # as stored


def test_what_is_expected_of_audio_is_what_would_be_kept(tmp_path: Path) -> None:
    for name, seconds in (("a.wav", 1), ("b.wav", 2), ("long.wav", 20)):
        soundfile.write(tmp_path / name, np.zeros(seconds * RATE), RATE)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    paths = [str(path) for path in tmp_path.iterdir()]
    assert recordings.expected_seconds(paths, 11.6) == 3.0


def test_a_prepared_study_needs_no_audio_file(speech: Path, tmp_path: Path, make_spec: Make) -> None:
    """Two runs and a second preparation of the same clips elsewhere decode nothing: the audio is gone, or garbage."""
    (tmp_path / "cache").mkdir()
    said: list[str] = []
    prepared = prepare(settings(speech), tmp_path / "cache", said.append)
    assert any(text.startswith("decoding audio") for text in said)
    speech.rename(tmp_path / "away")
    seen: list[list[Evaluation]] = []
    for _ in range(2):
        seen.append(run_trial(make_spec(2, prepared=prepared.directory)).evaluations)
    assert [e.mel_ce for e in seen[0]] == [e.mel_ce for e in seen[1]]
    said.clear()
    prepare(settings(tmp_path / "away"), tmp_path / "cache", said.append)
    assert not any(text.startswith("decoding audio") for text in said)


def test_the_number_of_cores_changes_nothing(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for count in (1, 3):
        cores(monkeypatch, count)
        (tmp_path / f"cache-{count}").mkdir()
        made.append(prepare(settings(speech), tmp_path / f"cache-{count}", lambda _: None))
    one, three = (Path(prepared.directory) for prepared in made)
    for name in ("corpus/waveforms.f32", "corpus/codes.i32", "corpus/tokens.i32", "corpus/clips.json"):
        assert (one / name).read_bytes() == (three / name).read_bytes(), name
    values = [{**prepared.base_evaluation, "seconds": 0} for prepared in made]
    assert values[0] == values[1]


def test_two_searches_prepare_a_study_once(speech: Path, tmp_path: Path) -> None:
    def search(log: Path) -> None:
        with open(log, "w", encoding="utf-8") as file:
            prepare(settings(speech), tmp_path / "cache", lambda text: print(text, file=file, flush=True))

    (tmp_path / "cache").mkdir()
    logs = [tmp_path / "one.txt", tmp_path / "other.txt"]
    both = [FORK.Process(target=search, args=(log,)) for log in logs]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    said = [log.read_text(encoding="utf-8") for log in logs]
    assert sum("decoding audio" in text for text in said) == 1
    assert sum("computing audio codes" in text for text in said) == 1
    assert sorted(entry.kind for entry in machine_cache.entries(tmp_path / "cache")) == [
        "miniature-base", "prepared", "recordings"
    ]  # fmt: skip


def test_what_is_prepared_is_checked_again(speech: Path, tmp_path: Path) -> None:
    """Settings that are no part of what is prepared may have changed: accumulation leaves too few optimizer steps."""
    (tmp_path / "cache").mkdir()
    prepare(settings(speech), tmp_path / "cache", lambda _: None)
    with pytest.raises(UserError, match=r"optimizer steps a trial, fewer than training.evaluations"):
        prepare(settings(speech, **{"training.accumulation": 8}), tmp_path / "cache", lambda _: None)


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


def test_a_file_of_two_rows_is_encoded_once(speech: Path, tmp_path: Path) -> None:
    table = (speech / "train.csv").read_text(encoding="utf-8").splitlines()
    name = table[1].split("|")[0]
    (speech / "train.csv").write_text("\n".join([*table, f"{name}|ሌላ|a"]) + "\n", encoding="utf-8")
    (tmp_path / "cache").mkdir()
    prepared = prepare(settings(speech), tmp_path / "cache", lambda _: None)
    clips = corpus.load(Path(prepared.directory) / "corpus")
    first, last = clips.train[0], clips.train[-1]
    assert (first.audio_file, first.first_code) == (last.audio_file, last.first_code)
    assert not torch.equal(clips.tokens(first), clips.tokens(last))
    by_file = {clip.audio_file: clip.codes for clip in (*clips.train, *clips.eval)}
    assert len(clips.audio_codes) == sum(by_file.values())


def test_ethiopic_numerals_and_punctuation_are_trained_on(speech: Path, tmp_path: Path, make_spec: Make) -> None:
    """Through the check, the tokenizer and training; no clip is lost."""
    signs = ("። ፣ ፤ ፥ ፦ ፧ ፨ ፠", "፩ ፪፫፬፭ ፮፯፰፱ ፲ ፳፴፵ ፶፷፸፹፺ ፻ ፼", "ሰላም፡ለዓለም፡፡")
    table = speech / "train.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    cells = [row.split("|") for row in rows]
    changed = ["|".join([file, f"{text} {signs[i % 3]}", *rest]) for i, (file, text, *rest) in enumerate(cells)]
    table.write_text("\n".join([header, *changed]) + "\n", encoding="utf-8")
    (tmp_path / "cache").mkdir()
    prepared = prepare(settings(speech), tmp_path / "cache", lambda _: None)
    assert prepared.dropped == []
    assert prepared.train_clips == len(rows)
    assert set("። ፣ ፤ ፥ ፦ ፧ ፨ ፠ ፡ ፩ ፲ ፻ ፼".split()) <= set(prepared.added_tokens)
    ended = run_trial(make_spec(2, prepared=prepared.directory))
    assert all(evaluation.is_finite for evaluation in ended.evaluations)


def test_a_corpus_beyond_the_limit_is_refused_before_it_is_decoded(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    said: list[str] = []
    with pytest.raises(UserError, match=r"service.cache_gb is 1e-06, and the decoded audio of .* needs about"):
        prepare(settings(speech, **{"service.cache_gb": 1e-6}), tmp_path / "cache", said.append)
    assert not any(text.startswith("decoding audio") for text in said)
    assert sorted(e.kind for e in machine_cache.entries(tmp_path / "cache")) in ([], ["miniature-base"])


def test_a_trial_opens_no_audio_file(make_spec: Make, tmp_path: Path) -> None:
    """By Python's own audit: what the process opens while a run is made and trained."""
    spec, log = make_spec(2), tmp_path / "opened.txt"

    def train() -> None:
        opened: list[str] = []
        sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
        run_trial(spec)
        log.write_text("\n".join(opened), encoding="utf-8")

    process = FORK.Process(target=train)  # a hook stays for the rest of the process
    process.start()
    process.join()
    opened = log.read_text(encoding="utf-8").splitlines()
    assert any(name.endswith("waveforms.f32") for name in opened)
    assert not [name for name in opened if name.endswith((".wav", ".flac", ".mp3", ".ogg"))]


def test_another_processor_prepares_the_same_but_for_rounding(prepared: Prepared, tmp_path: Path) -> None:
    """Machines that share a cache use what one of them made; those that do not come this close (docs/data.md)."""
    script = """
import sys
from pathlib import Path
from search.settings import load
from search.training.prepare import prepare
print(prepare(load(None, {}), Path(sys.argv[1]), lambda _: None).to_json())
"""
    plain = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    environment = {**os.environ, **plain}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    other = Prepared.from_json(done.stdout.splitlines()[-1].decode())
    for name in ("codes.i32", "tokens.i32", "waveforms.f32"):
        one, two = (Path(p.directory, "corpus", name).read_bytes() for p in (prepared, other))
        assert one == two, name
    for name, value in prepared.base_evaluation.items():
        if name.endswith("_ce"):
            assert other.base_evaluation[name] == pytest.approx(value, rel=1e-6)
