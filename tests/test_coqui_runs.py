"""What is said of run folders: the advice, data that is not here, names and folders gone bad. Nothing is trained."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples

from search.errors import UserError
from search.settings.sections import Data
from search.settings.settings import load
from search.tools import bench
from search.tools.advice import advice, warnings
from search.tools.checkpoint_tables import show, to_json
from search.tools.measure import Material, find_material
from search.tools.run_folder import inspect_runs
from search.trial import Evaluation
from tests.test_checkpoints import put, study_py
from tests.test_coqui_log import NEW, course_of


@pytest.mark.parametrize(
    ("losses", "base", "expected"),
    [
        ([4.4, 4.3], 4.2, "Take none: the untouched base model has eval 4.2000, the best of them 4.3000 (checkpoint_1"),
        ([4.4, 4.1], 4.2, "Take checkpoint_1.pth: eval 4.1000 nats per audio token, 0.1000 below the untouched base"),
        ([float("nan"), 4.1], 4.2, "Take checkpoint_1.pth: eval 4.1000"),
    ],
)
def test_advice_by_measurement(tmp_path: Path, losses: list[float], base: float, expected: str) -> None:
    for i in range(len(losses)):
        put(tmp_path, f"checkpoint_{i}.pth", {})
    found = inspect_runs(tmp_path, None)
    for checkpoint, loss in zip(found.checkpoints, losses, strict=True):
        checkpoint.evaluation = Evaluation(1, loss, 1.0, 1.0, 1.0)
    found.base = Evaluation(0, base, 1.0, 1.0, 1.0)
    assert advice(found)[0].startswith(expected)
    evaluation = json.loads(to_json(found))["runs"][0]["checkpoints"][0]["evaluation"]
    assert evaluation["mel_ce"] == evaluation["gap"] == (4.4 if losses[0] == 4.4 else None)


DATASET = {"formatter": "coqui", "meta_file_train": "train.csv", "meta_file_val": "eval.csv", "language": "en"}


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (None, "no config.json"),
        ({"datasets": [{**DATASET, "path": "/content/drive"}]}, "/content/drive, which is not on this machine"),
        (
            {"datasets": [{**DATASET, "path": "{here}"}], "model_args": {"dvae_checkpoint": "/x/dvae.pth"}},
            "/x/dvae.pth",
        ),
    ],
)
def test_data_that_is_not_here_is_said_in_one_line(tmp_path: Path, config: Any, part: str) -> None:
    put(tmp_path, "best_model.pth", {})
    if config is not None:
        text = json.dumps(config).replace("{here}", str(tmp_path))
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=part) as found:
        find_material(inspect_runs(tmp_path, None), load(None, {}))
    assert "--settings" in str(found.value)
    assert "\n" not in str(found.value)


COUNT = 30  # training clips


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """30 clips of two speakers in train.csv, of which the last two are in eval.csv, too, beside two others."""
    folder = tmp_path / "corpus"
    (folder / "wavs").mkdir(parents=True)
    for i in range(COUNT + 2):
        (folder / "wavs" / f"{i}.wav").write_bytes(bytes(i + 1))
    for name, numbers in (("train", range(COUNT)), ("eval", range(COUNT - 2, COUNT + 2))):
        rows = [f"wavs/{i}.wav|text|{'ab'[i % 2]}" for i in numbers]
        (folder / f"{name}.csv").write_text("\n".join(["audio_file|text|speaker_name", *rows]) + "\n")
    return folder


def coquis_split(corpus: Path, **sizes: Any) -> set[str]:
    """The names of the clips that a training script holds out."""
    dataset = BaseDatasetConfig(formatter="coqui", path=str(corpus), meta_file_train="train.csv", language="en")
    return names_of(load_tts_samples(BaseTTSConfig(datasets=[dataset]), eval_split=True, **sizes)[1])


def names_of(rows: Any) -> set[str]:
    return {Path(row["audio_file"]).name for row in rows}


SIZES = {"eval_split_size": 0.2, "eval_split_max_size": 4}
LAW, LISTS = {**SIZES, "batch_size": 2}, {"meta_file_val": "eval.csv"}


@pytest.mark.parametrize(
    ("config", "listed", "eval_table", "batches", "expected"),
    [
        (LAW, {}, None, 13, "split"),  # 26 training clips
        (LAW, {"path": "/content/drive/corpus"}, None, 13, "split"),  # the data was moved here
        (LAW, {}, None, 11, "its log shows about 22 training clips, and the split of its config.json leaves 26"),
        (LAW, {}, "eval.csv", 11, "unsure: which clips the run trained on cannot be known: its log shows about 22"),
        (LAW, {"formatter": "my_own"}, None, None, "which clips the run held out cannot be known: the tables of its"),
        (LAW, {"formatter": "my_own"}, "eval.csv", None, "unsure: which clips the run trained on cannot be known"),
        ({}, LISTS, "eval.csv", None, {"30.wav", "31.wav"}),  # what is in both tables was trained on
        ({}, LISTS, None, None, "no eval clip is left: data.train has no clip that it held out; name a table"),
        (LAW, {}, "trained.csv", 13, "no eval clip is left: the run trained on every clip of data.eval; name a table"),
    ],
)
def test_only_clips_that_the_run_held_out_are_measured_on(
    corpus: Path, config: Any, listed: Any, eval_table: str | None, batches: int | None, expected: Any
) -> None:
    datasets = [{**DATASET, "path": str(corpus), "meta_file_val": "", **listed}]
    material = Material("", split={**config, "datasets": datasets}, logged={"batches": batches})
    data = Data(path=corpus, eval=eval_table, language="en")
    held_out = coquis_split(corpus, **SIZES)
    if eval_table == "trained.csv":
        rows = (corpus / "train.csv").read_text().splitlines()[1:]
        trained = [row for row in rows if Path(row.split("|")[0]).name not in held_out][:3]
        (corpus / "trained.csv").write_text("\n".join(["audio_file|text|speaker_name", *trained]) + "\n")
    if isinstance(expected, str) and not expected.startswith(("split", "unsure")):
        with pytest.raises(UserError, match=expected):
            bench._chosen(data, corpus, 1, material)
        return
    probe, kept, how, unsure = bench._chosen(data, corpus, 1, material)
    if isinstance(expected, str) and expected.startswith("unsure"):
        assert unsure and unsure.startswith(expected.removeprefix("unsure: "))
        return
    assert unsure is None
    assert names_of(kept) == (held_out if expected == "split" else expected)
    assert len(probe) == (26 if expected == "split" else 30)
    assert ("left out 2 eval clips that it trained on" in how) == (expected != "split")


@pytest.mark.parametrize(
    ("last", "gap", "unsure", "warning", "advised"),
    [
        (3.4, 1.1, None, "", "Take checkpoint_2.pth: eval 3.4000"),
        (3.4, 0.7, None, "The gap of 3 checkpoints is below 1 (down to 0.70)", "Take checkpoint_2.pth"),
        (3.4, 1.1, "no config", "not known whether", "If the run did not train on the eval clips: Take checkpoint_2"),
        (3.4, 0.7, "no config", "not known whether", "No checkpoint can be advised"),
        (0.7, 1.1, None, "From checkpoint_1.pth to checkpoint_2.pth the measured eval falls", "No checkpoint can be"),
    ],
)
def test_signs_of_training_clips_are_warnings_and_may_forbid_advice(
    tmp_path: Path, last: float, gap: float, unsure: str | None, warning: str, advised: str
) -> None:
    """The log's own eval falls from epoch 0 to 1, and rises then, by 0.5 where the measured one falls by 2.8."""
    (tmp_path / "trainer_0_log.txt").write_text(course_of([4.0, 3.5, 4.0 if last < 1 else 3.45]), encoding="utf-8")
    for i in range(3):
        put(tmp_path, f"checkpoint_{i}.pth", {})
    found = inspect_runs(tmp_path, None)
    found.unsure, found.base = unsure, Evaluation(0, 5.0, 1.0, 5.0, 1.0)
    for i, (checkpoint, loss) in enumerate(zip(found.checkpoints, (4.0, 3.5, last), strict=True)):
        checkpoint.epoch, checkpoint.evaluation = i, Evaluation(1, loss, 1.0, loss / gap, 1.0)
    assert warning in " ".join(warnings(found)) and bool(warning) == bool(warnings(found))
    assert advice(found)[0].startswith(advised)
    assert ("By the log," in " ".join(advice(found))) == advised.startswith("No check")


def test_names_cannot_break_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "run\x1b[2J\n[red]"
    put(folder, "evil\x1b]0;x\x07\u202e.pth", {})
    put(folder, "best_model.pth", {})
    (folder / "trainer_0_log.txt").write_text(NEW.replace("best_model_1010.pth", "\x9b31mX[link=x].pth"))
    console = Console(record=True, width=160, file=io.StringIO())
    show(inspect_runs(folder, None), console)
    text = console.export_text()
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert "evil\\x1b]0;x\\x07\\x202e.pth" in text
    assert "[link=x]" in text


def test_bad_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, part in (
        (tmp_path / "nowhere\x1b", "nowhere\\x1b does not exist"),
        (tmp_path / "empty", "contains no checkpoints and no logs"),
        (put(tmp_path, "best_model.pth", {}), "is not text"),
    ):
        with pytest.raises(UserError) as found:
            inspect_runs(path, None)
        assert part in str(found.value)
    result = study_py(tmp_path / "empty")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
