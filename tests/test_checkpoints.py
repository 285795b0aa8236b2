"""Checkpoints of a run that coqui's own trainer made on the miniature, of ours, and of folders gone bad."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trainer import Trainer, TrainerArgs
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

from search.errors import UserError
from search.preparation import encoding
from search.preparation.places import locate
from search.preparation.surveying import decoded, encode
from search.preparation.tables import Rows, read_rows
from search.settings.settings import load
from search.tools import bench
from search.tools.measure import Material, find_material
from search.tools.run_folder import inspect_runs
from search.training import base, corpus
from search.training.evaluation import Evaluator, evaluation_sets
from search.trial import Evaluation, Prepared, TrialSpec
from tests.conftest import ROOT

ACCUMULATION = 8
# English texts for the miniature's audio: stock's tokenizer knows the language, and the base has the letters.
TEXTS = ("the old man read a book", "music in the night", "a fox and an ox", "she sold sea shells")


class TellingTrainer(Trainer):
    """Stock, and the losses noted before it divides them."""

    true: list[float]

    def _compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        outputs, losses = super()._compute_loss(*args, **kwargs)
        self.true.append(losses["loss"].item())
        return outputs, losses

    def save_training_script(self) -> None:
        """Stock would copy pytest."""


@pytest.fixture(scope="module")
def stock(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A stock run that drew its eval set itself: an evaluation, two epochs of one optimizer step each, its files."""
    folder = tmp_path_factory.mktemp("stock")
    speech, directory = locate(load(None, {}), cache, lambda _: None)
    write_data(folder / "data", speech)
    config = stock_config(folder, directory)
    samples = load_tts_samples(config, eval_split=True, eval_split_size=config.eval_split_size)
    held_out = {row["audio_file"] for row in samples[1]}
    trainer = TellingTrainer(
        TrainerArgs(grad_accum_steps=ACCUMULATION, start_with_eval=True),
        config,
        output_path=str(folder),
        model=GPTTrainer(config),
        train_samples=samples[0],
        eval_samples=samples[1],
        parse_command_line_args=False,
    )
    trainer.true = []
    trainer._fit()
    trainer.dashboard_logger.finish()
    yield SimpleNamespace(folder=Path(trainer.output_path), true=trainer.true, base=directory, held_out=held_out)
    for file in Path(trainer.output_path).glob("*.pth"):  # 0.3 GB each
        file.unlink()


def write_data(folder: Path, speech: Path) -> None:
    folder.mkdir()
    (folder / "wavs").symlink_to(speech / "wavs")
    rows = (speech / "train.csv").read_text(encoding="utf-8").splitlines()[1:23]
    lines = [f"{row.split('|')[0]}|{TEXTS[i % 4]}|{row.split('|')[2]}" for i, row in enumerate(rows)]
    (folder / "train.csv").write_text("\n".join(["audio_file|text|speaker_name", *lines]) + "\n", encoding="utf-8")


def stock_config(folder: Path, directory: Path) -> Any:
    """As coqui's recipe has it, where nothing is said; small, and quick to learn."""
    config = base.training_config(directory, (0.5, 1.0), 11.6, 200)
    changes = {
        "output_path": str(folder),
        "run_name": "GPT_XTTS_FT",
        "epochs": 3,
        "batch_size": 2,
        "eval_batch_size": 4,
        "eval_split_size": 0.3,  # 6 of 22 clips
        "print_step": 1,
        "plot_step": 1,
        "save_step": 12,
        "save_checkpoints": True,
        "lr": 2e-3,
        "optimizer_params": {**base.ADAMW, "weight_decay": 1e-2},
        "lr_scheduler": "MultiStepLR",
        "lr_scheduler_params": {"milestones": [900_000, 2_700_000, 5_400_000], "gamma": 0.5, "last_epoch": -1},
        "scheduler_after_epoch": True,
    }
    for name, value in changes.items():
        config[name] = value
    data = {"path": str(folder / "data"), "meta_file_train": "train.csv"}
    config.datasets = [BaseDatasetConfig(formatter="coqui", dataset_name="x", language="en", **data)]
    return config


@pytest.fixture(scope="module")
def report(stock: SimpleNamespace) -> dict[str, Any]:
    """What the command says of the run, as JSON; the one measurement of these tests that starts a process.

    The settings name the data without an eval table: a share of it, drawn here, would be training clips of the run.
    """
    (stock.folder.parent / "study.toml").write_text('[data]\npath = "data"\nlanguage = "en"\nprobe_clips = 2\n')
    result = study_py(stock.folder.parent, "--json")
    assert result.returncode == 0, result.stderr
    assert "measuring checkpoint 1 of 3" in result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def study_py(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """`study.py checkpoints`, in that folder."""
    command = [sys.executable, str(ROOT / "study.py"), "checkpoints", str(folder), *options]
    cwd = folder if folder.is_dir() else folder.parent
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_the_accumulation_and_the_true_losses(stock: SimpleNamespace, report: dict[str, Any]) -> None:
    """From stock's log alone, against the losses of the same run before stock divided them."""
    (run,) = report["runs"]
    assert run["accumulation"] == ACCUMULATION
    untrained, first, second = run["epochs"]
    assert untrained["train"] is None
    for epoch, true in ((first, stock.true[:8]), (second, stock.true[8:])):
        average = fmean(true[1:])  # stock's average forgets its first value
        assert epoch["train"] == pytest.approx(average, rel=1e-5)
        assert epoch["train_logged"] == pytest.approx(average / ACCUMULATION, rel=1e-5)
        assert epoch["gap"] == pytest.approx(epoch["eval"] / average, rel=1e-5)
        assert 1.5 < epoch["train_text_ce"] < 5  # nats, not hundredths
    assert any("900,000" in note for note in run["notes"])
    assert any("clipped no gradient" in note for note in run["notes"])


def test_the_real_losses_are_the_evaluators(
    stock: SimpleNamespace, report: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    """Each checkpoint loaded by coqui's own code, and evaluated on all clips here."""
    settings = load(None, {"data.language": "en", "data.eval": None})
    parts = read_rows(settings.data, stock.folder.parent / "data", 1).parts
    train, held_out = [], []
    for row in (*parts[0], *parts[1]):
        (held_out if row["audio_file"] in stock.held_out else train).append(row)
    assert len(held_out) == 6
    model = base.load_model(base.training_config(stock.base, (0.5, 1.0), 11.6, 200))
    found = decoded(settings, Rows(train[:2], held_out), model.config.audio.sample_rate, cache, lambda _: None)
    encode((train[:2], held_out), settings.data, model.xtts.tokenizer, found.found)
    encoding.prepare((train[:2], held_out), found, model, tmp_path / "corpus", lambda _done, _total: None)
    evaluator = Evaluator(model, evaluation_sets(model, corpus.load(tmp_path / "corpus"), 2, 1, 3))
    assert report["base"]["mel_ce"] == pytest.approx(evaluator(0, 0.0).mel_ce, rel=1e-5)
    (run,) = report["runs"]
    assert len(run["checkpoints"]) == 3
    found = set()
    for entry in run["checkpoints"]:
        state = torch.load(entry["path"], weights_only=True)["model"]
        gpt = {k.removeprefix("xtts.gpt."): v for k, v in state.items() if k.startswith("xtts.gpt.")}
        model.xtts.gpt.load_state_dict(gpt)
        evaluation = evaluator(0, 0.0)
        assert entry["evaluation"]["mel_ce"] == pytest.approx(evaluation.mel_ce, rel=1e-5)
        assert entry["evaluation"]["text_ce"] == pytest.approx(evaluation.text_ce, rel=1e-5)
        found.add(round(evaluation.mel_ce, 4))
    assert len({*found, round(report["base"]["mel_ce"], 4)}) >= 3  # or the test could not tell them apart


def test_what_the_files_claim_and_the_advice(report: dict[str, Any]) -> None:
    (run,) = report["runs"]
    by_name = {entry["name"]: entry for entry in run["checkpoints"]}
    copy = by_name["best_model.pth"]
    last = run["epochs"][copy["epoch"]]
    assert (copy["claimed_train"], copy["claimed_eval"]) == pytest.approx((last["train_logged"], last["eval"]))
    assert copy["same_as"] == f"best_model_{copy['step']}.pth" == last["best_model"]
    assert by_name["checkpoint_12.pth"]["step"] == 12
    best = min(run["checkpoints"], key=lambda entry: entry["evaluation"]["mel_ce"])
    assert best["evaluation"]["mel_ce"] < report["base"]["mel_ce"]
    assert report["advice"][0].startswith(f"Take {Path(run['path']).name}/{best['name']}: eval ")
    size = sum(os.path.getsize(entry["path"]) for entry in run["checkpoints"])
    assert "6 eval and 2 training clips" in report["measured_on"] and "coqui's split held out" in report["measured_on"]
    assert report["warnings"] == []
    assert report["advice"][1] == f"All checkpoints: 3, {size / 1e9:.2f} GB; nothing is deleted."


def test_a_log_alone_is_enough_and_needs_no_torch(stock: SimpleNamespace) -> None:
    """In a pipe no line is cut."""
    code = "import sys, study\nsys.argv.insert(1, 'checkpoints')\ntry: study.main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", code, str(stock.folder / "trainer_0_log.txt")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    *lines, modules = result.stdout.splitlines()
    assert not {"torch", "TTS", "trainer"} & set(modules.split())
    assert any(line.startswith("epoch  step  train as logged   eval  gap as logged") for line in lines)
    assert sum("as logged" in line and "accumulation steps" in line for line in lines) == 1
    assert "…" not in result.stdout


# Folders of files made here


def put(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


@pytest.fixture
def gpt(prepared: Prepared) -> dict[str, torch.Tensor]:
    """Weights of the prepared base's GPT, without a prefix."""
    state = torch.load(prepared.coqui_config["model_args"]["xtts_checkpoint"], weights_only=True)["model"]
    return {k.removeprefix("gpt."): v for k, v in state.items() if k.startswith("gpt.")}


def opened(files: list[Path], prepared: str | None = None) -> list[dict[str, Any]]:
    """What the child would answer about files, in this process."""
    caller: Any = SimpleNamespace(say=lambda *_, **__: None)
    answer = bench.run(caller, files, Material("", prepared=Path(prepared)) if prepared else None, Path())
    found: list[dict[str, Any]] = answer["files"]
    return found


class Harm:
    """What a checkpoint of unknown origin may hold."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch harm-was-done",)


def test_files_that_are_not_measured_have_their_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First of all those that could run code when they are loaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 half a file")
    files = [tmp_path / "torn.pth"]
    files += [put(tmp_path, f"{i}.pth", content) for i, content in enumerate(([1], {"model": {}}, {"c": Harm()}))]
    torn, *others = [found["reason"] for found in opened(files)]
    assert torn == "is cut short, 16 bytes"
    assert others[:2] == ["contains no weights of a model"] * 2
    assert "system, which may run code, so it is not loaded" in others[2]
    assert not Path("harm-was-done").exists()


def test_every_layout_of_the_weights_and_of_the_claims(
    tmp_path: Path, prepared: Prepared, gpt: dict[str, torch.Tensor]
) -> None:
    """A float `model_loss` of old trainers; ours; an exported model."""
    other = {k: v + 0.01 for k, v in gpt.items()}
    old = {"model": {f"xtts.gpt.{k}": v for k, v in other.items()} | {"dvae.x": torch.zeros(1)}, "model_loss": 5.577,
           "step": 7, "epoch": 1}  # fmt: skip
    evaluation = Evaluation(3, 4.25, 1.0, 1.0, 1.0)
    files = [
        put(tmp_path, "best_model.pth", old),
        put(tmp_path, "best.pth", {"model": gpt, "step": 3, "evaluation": asdict(evaluation)}),
        put(tmp_path, "model.pth", {"model": {f"gpt.{k}": v for k, v in other.items()}}),
        put(tmp_path, "grown.pth", {"model": {**gpt, "text_embedding.weight": torch.zeros(7528, 8)}}),
        put(tmp_path, "torn.pth", {"model": {k: v for k, v in gpt.items() if k != "mel_head.weight"}}),
    ]
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    found = opened(files, prepared.directory)
    assert [(f["claimed_eval"], f.get("step")) for f in found] == [(5.577, 7), (4.25, 3), *[(None, None)] * 3]
    first, ours, exported, grown, torn = found
    assert ours["evaluation"]["mel_ce"] == pytest.approx(prepared.base_evaluation["mel_ce"], rel=1e-6)
    assert first["evaluation"]["mel_ce"] != ours["evaluation"]["mel_ce"]
    assert exported["same_as"] == 0
    assert all(f"Size([{size}, " in grown["reason"] for size in (7528, prepared.vocabulary_size))
    assert 'Missing key(s) in state_dict: "mel_head.weight"' in torn["reason"]
    assert [(file.stat().st_mtime_ns, file.read_bytes()) for file in files] == before


@pytest.fixture
def our_run(make_spec: Callable[..., TrialSpec], gpt: dict[str, torch.Tensor]) -> Path:
    """A full run of `study.py train`, as it lies on the disk."""
    spec = make_spec()
    folder = Path(spec.directory)
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    rows = ["step,mel_ce,text_ce,probe_mel_ce,probe_text_ce,train_loss,lr,seconds,gap",
            "3,4.1,3,4,3,4.2,0.0005,1,1.025", "6,4.2,3,3.9,3,4.0,0.0005,2,1.07"]  # fmt: skip
    (folder / "evaluations.csv").write_text("\n".join(rows), encoding="utf-8")
    put(folder, "state/best.pth", {"model": gpt, "step": 3})
    put(folder, "state/last.pth", {"model": gpt, "step": 6})
    return folder


def test_a_run_of_ours(our_run: Path, prepared: Prepared) -> None:
    found = inspect_runs(our_run, None)
    kinds = [(c.name, c.kind) for c in found.checkpoints]
    assert kinds == [("state/best.pth", "our best"), ("state/last.pth", "our last")]
    assert find_material(found, load(None, {})).prepared == Path(prepared.directory)
    given = load(None, {"data.path": "miniature"})
    assert find_material(found, given).prepared == Path(prepared.directory)  # its own eval clips
    for folder in (our_run, our_run.parent):
        (folder / "spec.json").unlink(missing_ok=True)
    material = find_material(found, given)
    assert (material.settings, material.prepared, material.extended) == (given.model_dump_json(), None, True)
    assert material.unsure and "other clips than those that it held out" in material.unsure


def test_only_runs_of_the_same_data_are_measured_together(
    stock: SimpleNamespace, our_run: Path, tmp_path: Path
) -> None:
    text = (stock.folder / "config.json").read_text(encoding="utf-8")
    folder = tmp_path / "runs"
    for name in ("a", "b"):
        put(folder, f"{name}/best_model.pth", {})
        (folder / name / "config.json").write_text(text, encoding="utf-8")
    (folder / "link").symlink_to(our_run)
    found = inspect_runs(folder, None)
    assert [run.path.name for run in found.runs] == ["a", "b"]  # no link is followed into other folders
    material = find_material(found, load(None, {}))
    assert material.base_files.keys() == {"model.pth", "dvae.pth", "mel_stats.pth", "vocab.json"}
    (folder / "b" / "config.json").write_text(
        text.replace('"eval_split_size": 0.3', '"eval_split_size": 0.2'), encoding="utf-8"
    )
    with pytest.raises(UserError, match="different data"):
        find_material(inspect_runs(folder, None), load(None, {}))
