"""Measures checkpoints of any run by the study's `Evaluator`: the child process of `checkpoints`."""

import hashlib
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from search.errors import UserError
from search.preparation import base_check, encoding, tables
from search.preparation.cache import in_use
from search.preparation.coqui_tables import Rows
from search.preparation.places import Progress, locate
from search.preparation.prepare import prepare
from search.preparation.surveying import counting, decoded, encode
from search.settings.sections import Base, Data
from search.settings.settings import Settings
from search.tools.held_out import Row, parts, read_split
from search.tools.measure import Material
from search.tools.run_folder import NAME_A_TABLE
from search.training import base, corpus
from search.training.base import Weights
from search.training.evaluation import Evaluator, evaluation_sets
from search.training.file_kinds import WrongKind
from search.training.trainee import Trainee
from search.training.weights_file import read_weights_file, state_dict
from search.trial import Caller, Evaluation, Prepared

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EVAL_BATCH = 8  # clips; the evaluation does not depend on it

Bench = tuple[Evaluator, dict[str, Any]]  # what measures checkpoints, and what an Inspection says of it


def run(caller: Caller, files: Sequence[Path], material: Material | None, cache: Path) -> dict[str, Any]:
    """Opens each file, then measures those that hold GPT weights on `material`, if there is any.

    Returns "files", what each claims and is measured to be, by place, and "found", what an Inspection says of it.
    """

    def progress(text: str) -> None:
        caller.say("progress", text=text)

    opened = {file: _opened(file) for file in files}
    usable = {file: said for file, said in opened.items() if "reason" not in said}
    found: dict[str, Any] = {}
    if usable and material:
        with tempfile.TemporaryDirectory() as folder:
            try:
                evaluator, found = _bench(material, list(usable), cache, Path(folder), progress)
                _measure(evaluator, usable, list(files), progress)
            except UserError as error:
                found = {"unmeasured": str(error)}
        made = f"{folder}/base"
        found = {k: v.replace(made, "the base of config.json") if isinstance(v, str) else v for k, v in found.items()}
    return {"files": list(opened.values()), "found": found}


def _opened(file: Path) -> dict[str, Any]:
    """What the file claims, or {"reason": why it cannot be measured}."""
    try:
        content = read_weights_file(file)
        _gpt_weights(content)
        return _claims(content)
    except WrongKind as error:
        return {"reason": _reason(error)}


def _claims(content: dict[str, Any]) -> dict[str, Any]:
    """What the file says of itself: step, epoch, and train and eval loss as coqui's trainer computed them."""
    loss = content.get("model_loss")  # a float, of the eval, before coqui-tts-trainer 0.1
    train, held_out = (loss.get("train_loss"), loss.get("eval_loss")) if isinstance(loss, dict) else (None, loss)
    own = content.get("evaluation")
    counts = {name: content[name] for name in ("step", "epoch") if isinstance(content.get(name), int)}
    claimed = _number(own.get("mel_ce") if isinstance(own, dict) else held_out)
    return {**counts, "claimed_train": _number(train), "claimed_eval": claimed}


def _number(value: Any) -> float | None:
    is_one = isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    return float(value) if is_one else None


def _gpt_weights(content: Any) -> Weights:
    """The GPT's tensors, without a prefix. Raises WrongKind where there are none.

    coqui's trainer prefixes them `xtts.gpt.`, an exported model `gpt.`, and our runs nothing.
    """
    tensors = state_dict(content)
    weights = tensors if "text_embedding.weight" in tensors else base.gpt_weights(tensors)
    if "text_embedding.weight" not in weights:
        raise WrongKind("contains no weights of an XTTS GPT")
    return weights


def _digest(weights: Weights) -> str:
    """SHA-256 over names and values: equal weights in different files are measured once."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode("utf-8", "backslashreplace"))
        found.update(weights[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _reason(error: WrongKind) -> str:
    return str(error).partition(";")[0]  # the next step is for files of a base


def _measure(evaluator: Evaluator, usable: dict[Path, dict[str, Any]], files: list[Path], progress: Progress) -> None:
    """Adds the evaluation of each usable file; equal weights, like those of best_model.pth, are measured once."""
    first: dict[str, Path] = {}  # by the digest of the weights
    for count, (file, said) in enumerate(usable.items(), 1):
        progress(f"measuring checkpoint {count} of {len(usable)}")
        try:
            weights = _gpt_weights(read_weights_file(file))
            if same := first.get(key := _digest(weights)):
                said |= {"evaluation": usable[same]["evaluation"], "same_as": files.index(same)}
            else:
                said["evaluation"] = asdict(_evaluated(evaluator, weights, said.get("step", 0)))
                first[key] = file
        except WrongKind as error:
            said["reason"] = _reason(error)


def _evaluated(evaluator: Evaluator, weights: Weights, step: int) -> Evaluation:
    """Raises WrongKind for weights that do not fit."""
    gpt = evaluator.model.xtts.gpt
    try:
        gpt.load_state_dict({name: weights[name] for name in gpt.state_dict() if name in weights})
    except RuntimeError as error:
        raise WrongKind(f"does not fit base.path: {str(error).splitlines()[1].strip()}") from error
    return evaluator(step, time.monotonic())


def _bench(material: Material, files: Sequence[Path], cache: Path, folder: Path, progress: Progress) -> Bench:
    """On data and base of the material, with `folder` for what it writes. Raises UserError where they do not serve.

    Unless `extended`, the vocabulary stays as it is, or the checkpoints of a stock run would not fit. Only what is
    evaluated is encoded: the eval set, and a seeded sample of the training table as the probe.
    """
    if material.settings is None or material.extended:
        return _prepared_bench(material, cache, progress)
    settings = Settings.model_validate_json(material.settings)
    if material.config:
        (folder / "base").mkdir()
        for name, path in {**material.base_files, "config.json": material.config}.items():
            (folder / "base" / name).symlink_to(path)
        settings = settings.model_copy(update={"base": Base(path=folder / "base", extend_vocabulary=False)})
    data, seed = settings.data, settings.study.seed
    root, directory = locate(settings, cache, progress)
    train, held_out, how, unsure = _chosen(data, root, seed, material)
    probe = random.Random(seed).sample(train, min(data.probe_clips, len(train)))
    directory, reason = _whole_base(directory, files, folder)
    base_check.check_limits(settings, directory)
    model = base.load_model(base_check.config_for(settings, directory))
    model.to(DEVICE)  # which also encodes
    found = decoded(settings, Rows(probe, held_out), model.config.audio.sample_rate, cache, progress)
    encode((probe, held_out), data, model.xtts.tokenizer, found.found)
    with in_use(found.waveforms.parent):
        count = counting(progress, "computing audio codes")
        dropped = encoding.prepare((probe, held_out), found, model, folder / "corpus", count)
    if dropped:
        progress(f"left out {len(dropped)} clips; the first: {dropped[0][0]}: {dropped[0][1]}")
    evaluator, counted = _on(model, folder / "corpus", len(probe), seed, settings.training.eval_batch_size)
    said: dict[str, Any] = {"measured_on": f"{counted} of {material.words}{how}", "base_reason": reason}
    if reason is None:
        progress("evaluating the untouched base model")
        said["base"] = asdict(evaluator(0, time.monotonic()))
    return evaluator, {**said, "unsure": unsure}


def _prepared_bench(material: Material, cache: Path, progress: Progress) -> Bench:
    """On what a study prepared, or is prepared as it does, its own evaluation of the base included."""
    if material.prepared:
        prepared = Prepared.from_json((material.prepared / "prepared.json").read_text(encoding="utf-8"))
        batch = EVAL_BATCH
    else:
        settings = Settings.model_validate_json(material.settings or "")
        prepared, batch = prepare(settings, cache, progress), settings.training.eval_batch_size
    model, folder = Trainee(base.config_from_dict(prepared.coqui_config)), Path(prepared.directory) / "corpus"
    model.to(DEVICE)
    evaluator, counted = _on(model, folder, prepared.probe_clips, prepared.seed, batch)
    on = f"{counted} of {material.words}"
    return evaluator, {"measured_on": on, "base": prepared.base_evaluation, "unsure": material.unsure}


def _on(model: base.StudyModel, folder: Path, probe: int, seed: int, batch: int) -> tuple[Evaluator, str]:
    """(on the eval set, and at most `probe` training clips, of the corpus in `folder`; how many, in words)."""
    clips = corpus.load(folder)
    sets = evaluation_sets(model, clips, min(probe, len(clips.train)), seed, batch)
    counted = f"{len(clips.eval)} eval and {min(probe, len(clips.train))} training clips"
    return Evaluator(model, sets), counted


def _chosen(data: Data, root: Path, seed: int, material: Material) -> tuple[list[Row], list[Row], str, str | None]:
    """(clips for the probe, eval clips, how they were chosen, why it is not known whether they were trained on)."""
    train, held_out = tables.read_rows(data, root, seed).parts
    if material.split is None:
        return train, held_out, "", material.unsure
    try:
        found = read_split({**material.split, **material.logged}, root)
    except UserError as error:
        if data.eval:
            return train, held_out, "", f"which clips the run trained on cannot be known: {error}"
        raise UserError(f"which clips the run held out cannot be known: {error}; {NAME_A_TABLE}") from error
    learnt, kept, dropped = parts(found, train, held_out, bool(data.eval))
    how = "" if data.eval else ", those that coqui's split held out"
    return learnt, kept, f"{how}; left out {dropped} eval clips that it trained on" if dropped else how, None


def _whole_base(directory: Path, files: Sequence[Path], folder: Path) -> tuple[Path, str | None]:
    """(a base that fits its vocabulary, why it is not the untouched one).

    A run whose vocabulary was extended names the original weights, which fit no longer, and many delete them. Its
    checkpoints are whole models, so the first that fits takes their place; only the GPT's weights are then replaced.
    """
    try:
        base_check.check(directory)
        return directory, None
    except UserError as error:
        first = error
    for number, file in enumerate(files):
        candidate = folder / f"base-{number}"
        candidate.mkdir()
        for name in base.FILES:
            (candidate / name).symlink_to((file if name == "model.pth" else directory / name).absolute())
        try:
            base_check.check(candidate)
            there = (directory / "model.pth").exists()
            return candidate, str(first) if there else "its model.pth is not on this machine"
        except UserError:
            continue
    raise first
