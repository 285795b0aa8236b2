"""What is exported for coqui's own trainer, trained with coqui's own classes by the script that users get."""

import json
import re
import runpy
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from TTS.tts.configs.xtts_config import XttsAudioConfig
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs, GPTTrainerConfig

from search.commands import export
from search.settings.settings import Settings, load
from search.training.tokenizer import Tokenizer
from search.trial import Prepared
from tests.conftest import ROOT
from tests.studies import new_study, run

SCRIPT = ROOT / "docs" / "train_with_coqui.py"
CLIPS, ACCUMULATION, HORIZON = 10, 2, 12  # five batches of two and three updates an epoch, the third of one batch
EVAL_CLIPS = 4
LR, DECAY, GAMMA, CLIP = 1e-3, 0.05, 0.4, 1.6
POINT = {
    "lr": LR,
    "weight_decay": DECAY,
    "n_milestones": 2,
    "milestone_1": 0.25,
    "milestone_2_of_rest": 0.25 / 0.65,  # at one half
    "gamma": GAMMA,
    "clip": True,
    "clip_norm": CLIP,
}


@dataclass(frozen=True)
class Update:
    """An optimizer step of stock's, measured from outside."""

    lrs: list[float]  # of the parameter groups
    decays: list[float]
    before: float  # L2 norm of the gradient before the clip
    after: float  # the same as the optimizer saw it


@pytest.fixture(scope="module")
def exported(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coqui config as `study.py export --format coqui` writes it, for a few Amharic clips of the miniature."""
    folder = tmp_path_factory.mktemp("coqui")
    dataset = prepared.coqui_config["datasets"][0]
    settings = few_clips(Path(dataset["path"]), folder)
    config = {
        **prepared.coqui_config,
        "output_path": str(folder / "output"),
        "datasets": [{**dataset, "path": str(settings.data.path)}],
    }
    study = new_study(settings, replace(prepared, train_clips=CLIPS, eval_clips=EVAL_CLIPS, coqui_config=config))
    run(study, POINT, [2.5])
    return export.save(export.choose(settings, None), "coqui", settings, None)


def few_clips(speech: Path, folder: Path) -> Settings:
    """Settings of a study on the first clips of the miniature's speech, copied into `folder`."""
    (folder / "data" / "wavs").mkdir(parents=True)
    for table, count in (("train.csv", CLIPS), ("eval.csv", EVAL_CLIPS)):
        lines = (speech / table).read_text(encoding="utf-8").splitlines()[: count + 1]
        (folder / "data" / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
        for line in lines[1:]:
            shutil.copy(speech / line.split("|")[0], folder / "data" / "wavs")
    (folder / "study.toml").write_text(
        '[data]\npath = "data"\nlanguage = "am"\neval = "eval.csv"\n'
        f"[training]\nbatch_size = 2\naccumulation = {ACCUMULATION}\nsteps = {HORIZON}\ntruncation = 0.5\n"
        "evaluations = 2\n",
        encoding="utf-8",
    )
    settings = load(folder / "study.toml", {"study.directory": str(folder)})
    settings.directory.mkdir()
    return settings


@pytest.fixture(scope="module")
def trained(exported: Path) -> SimpleNamespace:
    """The script run on the config as a user runs it, but in this process: its names, and the updates it made."""
    before: list[float] = []
    updates: list[Update] = []
    clip = torch.nn.utils.clip_grad_norm_

    def measured_clip(parameters: Any, *arguments: Any, **keywords: Any) -> Any:
        parameters = list(parameters)
        before.append(norm(parameters))
        return clip(parameters, *arguments, **keywords)

    def measure(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        assert len(before) == len(updates) + 1, "each update has its clip"
        after = norm([parameter for group in groups for parameter in group["params"]])
        updates.append(Update([g["lr"] for g in groups], [g["weight_decay"] for g in groups], before[-1], after))

    hook = register_optimizer_step_pre_hook(measure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", measured_clip)
        patch.setattr(sys, "argv", [str(SCRIPT), str(exported), "--grad-accum-steps", str(ACCUMULATION)])
        try:
            return SimpleNamespace(names=runpy.run_path(str(SCRIPT), run_name="__main__"), updates=updates)
        finally:
            hook.remove()


def norm(parameters: list[Any]) -> float:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def test_the_stock_class_loads_the_config(exported: Path) -> None:
    config = GPTTrainerConfig()
    config.load_json(str(exported))
    assert isinstance(config.model_args, GPTArgs)
    assert isinstance(config.audio, XttsAudioConfig)
    assert config.lr_scheduler_params == {"milestones": [3, 6], "gamma": GAMMA}
    assert config.max_audio_len == float("inf")  # left out of the file, and the default
    written = json.loads(exported.read_text(encoding="utf-8"))
    assert {name: value for name, value in config.to_dict().items() if name in written} == written
    assert set(config.to_dict()) - set(written) == {"max_audio_len", "max_text_len"}


def test_every_update_has_the_promised_rate_decay_and_clip(trained: SimpleNamespace) -> None:
    """Twelve updates: the first three at the rate, three after the first milestone, six after the second."""
    rates = [LR] * 3 + [LR * GAMMA] * 3 + [LR * GAMMA**2] * 6
    assert [update.lrs for update in trained.updates] == [[pytest.approx(rate, rel=1e-9)] * 2 for rate in rates]
    assert {tuple(update.decays) for update in trained.updates} == {(DECAY, 0)}
    assert 0 < sum(update.before > CLIP for update in trained.updates) < HORIZON
    for update in trained.updates:
        assert update.after == pytest.approx(min(update.before, CLIP), rel=1e-5)


def test_every_clip_is_used_and_a_checkpoint_is_left(trained: SimpleNamespace, exported: Path) -> None:
    """Stock's own tokenizer would drop every Amharic clip."""
    trainer = trained.names["trainer"]
    assert trainer.train_loader.dataset.failed_samples == set()
    assert len(trainer.eval_loader.dataset.samples) == EVAL_CLIPS
    assert [path.name for path in exported.parent.parent.glob("output/*/best_model.pth")] == ["best_model.pth"]


@pytest.mark.parametrize(
    ("text", "language"), [("ሰላም\u1361 \n A\u200bbc  e\u0301", "am"), ("Dr. Who has 2 cats", "en")]
)
def test_texts_are_normalised_as_in_the_search(trained: SimpleNamespace, text: str, language: str) -> None:
    ours = Tokenizer(trained.names["config"].model_args.tokenizer_file)
    assert trained.names["model"].xtts.tokenizer.encode(text, language) == ours.encode(text, language)


def test_the_script_needs_nothing_of_ours() -> None:
    imported = re.findall(r"^(?:from|import) (\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(imported) == {"argparse", "re", "unicodedata", "trainer", "TTS"}
