"""Measures checkpoints of any run by the study's `Evaluator`: the child process of `checkpoints`."""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from search.errors import UserError
from search.preparation import base_check, encoding, tables
from search.preparation.places import locate
from search.preparation.prepare import prepare
from search.settings.sections import Data
from search.settings.settings import Settings
from search.tools.checkpoint import Unusable, Weights, claims, digest, gpt_weights, load
from search.tools.held_out import Row, read_split
from search.tools.run_folder import NAME_A_TABLE
from search.training import base, corpus
from search.training.evaluation import Evaluator, evaluation_sets
from search.training.trainee import Trainee
from search.trial import Caller, Evaluation, Prepared

EVAL_BATCH = 8  # clips; the evaluation does not depend on it

Progress = Callable[[str], None]


@dataclass
class Bench:
    """What every checkpoint is measured with: one model, one frozen eval set, one train probe."""

    model: base.StudyModel
    evaluator: Evaluator
    clips: tuple[int, int]  # of the eval set and the probe
    base: Evaluation | None
    base_reason: str | None  # why the untouched base model is not measured
    held_out: str = ""  # how the eval clips were chosen, in words
    unsure: str | None = None  # why it is not known whether the run trained on them

    def measure(self, weights: Weights, step: int | None) -> Evaluation:
        """Raises Unusable for weights that do not fit."""
        gpt = self.model.xtts.gpt
        rows, tokens = len(weights["text_embedding.weight"]), gpt.text_embedding.num_embeddings
        if rows != tokens:
            raise Unusable(
                f"has a vocabulary of {rows} tokens, and the tokenizer {tokens}; give the base and the vocab.json that"
                " the run was trained with (base.path)"
            )
        try:
            gpt.load_state_dict({name: weights[name] for name in gpt.state_dict() if name in weights})
        except RuntimeError as error:
            raise Unusable(f"does not fit the base: {str(error).splitlines()[1].strip()}") from error
        return self.evaluator(step or 0, time.monotonic())


def run(
    caller: Caller,
    files: Sequence[str],
    cache: str,
    settings: str | None,
    prepared: str | None,
    extended: bool,
    split: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Opens each file, then measures those that hold GPT weights.

    Args:
        settings: JSON of the Settings that name data and base; None to open the files only.
        prepared: A folder of `search.preparation.prepare`, instead of data and base.
        extended: Prepare data and base as a search does, with the letters that the base lacks.
        split: What decides which clips the run held out, for `read_split`.

    Returns "files", what each claims and is measured to be, by place; "bench", what they are measured on, or None;
    "unmeasured", why they are not, or None.
    """

    def progress(text: str) -> None:
        caller.say("progress", text=text)

    found = [_opened(Path(file)) for file in files]
    answer: dict[str, Any] = {"files": found, "bench": None, "unmeasured": None}
    usable = [number for number, opened in enumerate(found) if "reason" not in opened]
    if not usable or not (settings or prepared):
        return answer
    with tempfile.TemporaryDirectory() as folder:
        try:
            if prepared:
                path = Path(prepared) / "prepared.json"
                bench = _prepared_bench(Prepared.from_json(path.read_text(encoding="utf-8")), EVAL_BATCH)
            else:
                chosen = Settings.model_validate_json(settings or "")
                paths = [Path(files[number]) for number in usable]
                bench = _bench(chosen, Path(cache), extended, split, paths, Path(folder), progress)
        except UserError as error:
            return {**answer, "unmeasured": str(error)}
        _measure(bench, files, found, usable, progress)
    untouched = asdict(bench.base) if bench.base else None
    clips = {"eval_clips": bench.clips[0], "probe_clips": bench.clips[1]}
    why = {"base_reason": bench.base_reason, "held_out": bench.held_out, "unsure": bench.unsure}
    return {**answer, "bench": {"base": untouched, **why, **clips}}


def _opened(file: Path) -> dict[str, Any]:
    """What the file claims, or {"reason": why it cannot be measured}."""
    try:
        content = load(file)
        gpt_weights(content)
        return claims(content)
    except Unusable as error:
        return {"reason": str(error)}


def _measure(
    bench: Bench, files: Sequence[str], found: list[dict[str, Any]], usable: Sequence[int], progress: Progress
) -> None:
    """Adds the evaluation of each usable file; equal weights, like those of best_model.pth, are measured once."""
    first: dict[str, int] = {}  # by the digest of the weights
    for count, number in enumerate(usable):
        progress(f"measuring checkpoint {count + 1} of {len(usable)}")
        try:
            weights = gpt_weights(load(Path(files[number])))
            key = digest(weights)
            if key in first:
                found[number] |= {"evaluation": found[first[key]]["evaluation"], "same_as": first[key]}
                continue
            evaluation = bench.measure(weights, found[number]["step"])
            first[key] = number
            found[number] |= {"evaluation": asdict(evaluation), "same_as": None}
        except Unusable as error:
            found[number]["reason"] = str(error)


def _prepared_bench(prepared: Prepared, batch_size: int) -> Bench:
    """On what a study prepared, its own evaluation of the base included."""
    config = base.config_from_dict(prepared.coqui_config)
    model = _on_device(Trainee(config))
    clips = corpus.load(Path(prepared.directory) / "corpus")
    sets = evaluation_sets(model, clips, prepared.probe_clips, prepared.seed, batch_size)
    untouched = Evaluation(**prepared.base_evaluation)
    return Bench(model, Evaluator(model, sets), (prepared.eval_clips, prepared.probe_clips), untouched, None)


def _bench(
    settings: Settings,
    cache: Path,
    extended: bool,
    split: dict[str, Any] | None,
    files: Sequence[Path],
    folder: Path,
    progress: Progress,
) -> Bench:
    """On data and base of the settings, with `folder` for what it writes. Raises UserError where they do not serve.

    Unless `extended`, the vocabulary stays as it is, or the checkpoints of a stock run would not fit. Only what is
    evaluated is encoded: the eval set, and a seeded sample of the training table as the probe.
    """
    if extended:
        return _prepared_bench(prepare(settings, cache, progress), settings.training.eval_batch_size)
    data, seed = settings.data, settings.study.seed
    root, directory = locate(settings, cache, progress)
    train, held_out, how, unsure = _chosen(data, root, seed, split)
    probe = random.Random(seed).sample(train, min(data.probe_clips, len(train)))
    directory, reason = _whole_base(directory, files, folder)
    base_check.check_limits(settings, directory)
    config = base.training_config(
        directory, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens
    )
    model = _on_device(base.load_model(config))
    (folder / "corpus").mkdir()
    progress(f"encoding {len(held_out)} clips of the eval set and {len(probe)} training clips")
    dropped = encoding.prepare(data, (probe, held_out), model, folder / "corpus", lambda _done, _total: None)
    if dropped:
        progress(f"left out {len(dropped)} clips; the first: {dropped[0][0]}: {dropped[0][1]}")
    clips = corpus.load(folder / "corpus")
    sets = evaluation_sets(model, clips, len(clips.train), seed, settings.training.eval_batch_size)
    evaluator = Evaluator(model, sets)
    untouched = None
    if reason is None:
        progress("evaluating the untouched base model")
        untouched = evaluator(0, time.monotonic())
    return Bench(model, evaluator, (len(clips.eval), len(clips.train)), untouched, reason, how, unsure)


def _chosen(
    data: Data, root: Path, seed: int, split: dict[str, Any] | None
) -> tuple[list[Row], list[Row], str, str | None]:
    """(clips for the probe, eval clips, how they were chosen, why it is not known whether they were trained on)."""
    train, held_out = tables.read_rows(data, root, seed).parts
    if split is None:
        return train, held_out, "", None
    try:
        found = read_split(split, root)
    except UserError as error:
        if data.eval:
            return train, held_out, "", f"which clips the run trained on cannot be known: {error}"
        raise UserError(f"which clips the run held out cannot be known: {error}; {NAME_A_TABLE}") from error
    learnt, kept, dropped = found.parts(train, held_out, bool(data.eval))
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


def _on_device(model: base.StudyModel) -> base.StudyModel:
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model
