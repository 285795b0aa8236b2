"""Checkpoints of any run: opened without running what they hold, and measured by the study's `Evaluator`."""

import hashlib
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from TTS.tts.models.xtts import _legacy_safe_globals

from search.errors import UserError
from search.preparation import encoding, tables
from search.preparation.places import locate
from search.preparation.prepare import prepare
from search.settings.settings import Settings
from search.tools.checkpoint_request import Request
from search.training import base, corpus
from search.training.evaluation import Evaluator, evaluation_sets
from search.training.trainee import Trainee
from search.trial import Caller, Evaluation, Prepared

EVAL_BATCH = 8  # clips; the evaluation does not depend on it

Say = Callable[..., None]
Weights = dict[str, torch.Tensor]


class Unusable(Exception):
    """A file that is not measured; the message says why."""


@dataclass
class Bench:
    """What every checkpoint is measured with: one model, one frozen eval set, one train probe."""

    model: base.StudyModel
    evaluator: Evaluator
    eval_clips: int
    probe_clips: int
    base: Evaluation | None
    base_reason: str | None  # why the untouched base model is not measured

    def measure(self, weights: Weights, step: int | None) -> Evaluation:
        """Raises Unusable for weights that do not fit."""
        self.model.xtts.gpt.load_state_dict(fitting(weights, self.model))
        return self.evaluator(step or 0, time.monotonic())


def run(caller: Caller, request: dict[str, Any]) -> None:
    """`work` in a process of its own."""

    def say(kind: str, **values: Any) -> None:
        caller.say(kind, **{k: _encodable(v) for k, v in values.items()})

    work(Request(**request), say)


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def work(request: Request, say: Say) -> None:
    """Opens each file, then measures those that hold GPT weights. Speaks of files by their place in the request.

    Says "progress", "opened" for each file, "base" or "unmeasured", and "measured" for each file.
    """
    usable = []
    for number, file in enumerate(request.files):
        try:
            content = load(Path(file))
            gpt_weights(content)
            usable.append(number)
            say("opened", file=number, **claims(content))
        except Unusable as error:
            say("opened", file=number, reason=str(error))
    if usable and (request.settings or request.prepared):
        with tempfile.TemporaryDirectory() as folder:
            _measure(request, usable, Path(folder), say)


def _measure(request: Request, usable: list[int], folder: Path, say: Say) -> None:
    def progress(text: str) -> None:
        say("progress", text=text)

    try:
        bench = make_bench(request, [Path(request.files[number]) for number in usable], folder, progress)
    except UserError as error:
        say("unmeasured", reason=str(error))
        return
    untouched = asdict(bench.base) if bench.base else None
    clips = {"eval_clips": bench.eval_clips, "probe_clips": bench.probe_clips}
    say("base", evaluation=untouched, reason=bench.base_reason, **clips)
    measured: dict[str, tuple[int, Evaluation]] = {}  # by the weights: best_model.pth is a copy of another file
    for count, number in enumerate(usable):
        progress(f"measuring checkpoint {count + 1} of {len(usable)}")
        try:
            content = load(Path(request.files[number]))
            weights = gpt_weights(content)
            key = digest(weights)
            if key not in measured:
                measured[key] = number, bench.measure(weights, claims(content)["step"])
            first, evaluation = measured[key]
            say("measured", file=number, evaluation=asdict(evaluation), same_as=None if first == number else first)
        except Unusable as error:
            say("measured", file=number, reason=str(error))


def make_bench(request: Request, files: Sequence[Path], folder: Path, progress: Callable[[str], None]) -> Bench:
    """The bench of `request`; `folder` is for what it writes. Raises UserError where data or base do not do."""
    cache = Path(request.cache)
    if request.prepared:
        found = Prepared.from_json((Path(request.prepared) / "prepared.json").read_text(encoding="utf-8"))
        return _prepared_bench(found, EVAL_BATCH)
    assert request.settings is not None
    settings = Settings.model_validate_json(request.settings)
    if request.extended:
        return _prepared_bench(prepare(settings, cache, progress), settings.training.eval_batch_size)
    return _plain_bench(settings, cache, files, folder, progress)


def _prepared_bench(prepared: Prepared, batch_size: int) -> Bench:
    """On what a study prepared, its own evaluation of the base included."""
    config = base.config_from_dict(prepared.coqui_config)
    model = _on_device(Trainee(config))
    clips = corpus.load(Path(prepared.directory) / "corpus")
    sets = evaluation_sets(model, clips, prepared.probe_clips, prepared.seed, batch_size)
    untouched = Evaluation(**prepared.base_evaluation)
    return Bench(model, Evaluator(model, sets), prepared.eval_clips, prepared.probe_clips, untouched, None)


def _plain_bench(
    settings: Settings, cache: Path, files: Sequence[Path], folder: Path, progress: Callable[[str], None]
) -> Bench:
    """On data and base as they are: the vocabulary of a stock run must not grow, or its checkpoints would not fit.

    Only what is evaluated is encoded: the eval set, and a seeded sample of the training table as the probe.
    """
    data, seed = settings.data, settings.study.seed
    root, directory = locate(settings, cache, progress)
    train, held_out = tables.read_rows(data, root, seed).parts
    probe = random.Random(seed).sample(train, min(data.probe_clips, len(train)))
    directory, reason = _whole_base(directory, files, folder)
    base.check_limits(settings, directory)
    config = base.training_config(
        directory, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens
    )
    model = _on_device(base.load_model(config))
    (folder / "corpus").mkdir()
    progress(f"encoding {len(held_out)} clips of the eval set and {len(probe)} training clips")
    dropped = encoding.prepare(
        data, (probe, held_out), model, model.xtts.tokenizer, folder / "corpus", lambda _done, _total: None
    )
    if dropped:
        progress(f"left out {len(dropped)} clips; the first: {dropped[0][0]}: {dropped[0][1]}")
    clips = corpus.load(folder / "corpus")
    sets = evaluation_sets(model, clips, len(clips.train), seed, settings.training.eval_batch_size)
    evaluator = Evaluator(model, sets)
    untouched = None
    if reason is None:
        progress("evaluating the untouched base model")
        untouched = evaluator(0, time.monotonic())
    return Bench(model, evaluator, len(clips.eval), len(clips.train), untouched, reason)


def _whole_base(directory: Path, files: Sequence[Path], folder: Path) -> tuple[Path, str | None]:
    """(a base that fits its vocabulary, why it is not the untouched one).

    A run whose vocabulary was extended names the original weights, which fit no longer, and many delete them. Its
    checkpoints are whole models, so the first that fits takes their place; only the GPT's weights are then replaced.
    """
    try:
        base.check(directory)
        return directory, None
    except UserError as error:
        first = error
    for number, file in enumerate(files):
        candidate = folder / f"base-{number}"
        candidate.mkdir()
        for name in base.FILES:
            (candidate / name).symlink_to((file if name == "model.pth" else directory / name).absolute())
        try:
            base.check(candidate)
            there = (directory / "model.pth").exists()
            return candidate, str(first) if there else "its model.pth is not on this machine"
        except UserError:
            continue
    raise first


def _on_device(model: base.StudyModel) -> base.StudyModel:
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, memory-mapped where its format allows. Raises Unusable.

    Never anything but tensors and plain values, and the config class that old checkpoints hold: whatever else a pickle
    names could be code.
    """
    try:
        with _legacy_safe_globals():
            try:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap can only be used" not in str(error):  # torch.serialization.load, of files before torch 1.6
                    raise
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise Unusable(_reason(error)) from error
    if not isinstance(content, dict):
        raise Unusable(f"holds a {type(content).__name__}, no checkpoint")
    return content


def _reason(error: Exception) -> str:
    """torch's advice, to load the file without the check, is not repeated."""
    text = str(error).strip() or type(error).__name__
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"holds {named[1]}, which may run code; it is not loaded"
    if "Weights only load failed" in text:
        return "holds more than tensors and plain values, which may run code; it is not loaded"
    return f"cannot be read as a checkpoint: {text.splitlines()[0]}"


def claims(content: dict[str, Any]) -> dict[str, Any]:
    """What the file says of itself: step, epoch, date, and train and eval loss as coqui's trainer computed them."""
    loss = content.get("model_loss")  # a float, of the eval, before coqui-tts-trainer 0.1
    train, held_out = (loss.get("train_loss"), loss.get("eval_loss")) if isinstance(loss, dict) else (None, loss)
    own = content.get("evaluation")
    step, epoch, date = (content.get(name) for name in ("step", "epoch", "date"))
    return {
        "step": step if isinstance(step, int) else None,
        "epoch": epoch if isinstance(epoch, int) else None,
        "date": date if isinstance(date, str) else None,
        "claimed_train": _number(train),
        "claimed_eval": _number(own.get("mel_ce") if isinstance(own, dict) else held_out),
    }


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value)
    return float(value) if isinstance(value, int | float) else None


def gpt_weights(content: dict[str, Any]) -> Weights:
    """The GPT's tensors, without a prefix. Raises Unusable where there are none.

    coqui's trainer prefixes them `xtts.gpt.`, an exported model `gpt.`, and our runs nothing.
    """
    state = content.get("model", content)
    if not isinstance(state, dict):
        raise Unusable("holds no weights")
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    weights = tensors if "text_embedding.weight" in tensors else base.gpt_weights(tensors)
    if "text_embedding.weight" not in weights:
        raise Unusable("holds no weights of an XTTS GPT")
    return weights


def fitting(weights: Weights, model: base.StudyModel) -> Weights:
    """The weights that the model's GPT has, all of them. Raises Unusable with the first that is missing or differs."""
    expected = model.xtts.gpt.state_dict()
    rows, tokens = weights["text_embedding.weight"].shape[0], expected["text_embedding.weight"].shape[0]
    if rows != tokens:
        raise Unusable(
            f"has a vocabulary of {rows} tokens, and the tokenizer {tokens}; give the base and the vocab.json that the"
            " run was trained with (base.path)"
        )
    for name, value in expected.items():
        if name not in weights:
            raise Unusable(f"lacks gpt.{name}")
        if weights[name].shape != value.shape:
            raise Unusable(f"gpt.{name} is {tuple(weights[name].shape)}, and {tuple(value.shape)} in the base")
    return {name: weights[name] for name in expected}


def digest(weights: Weights) -> str:
    """SHA-256 over names and values: equal weights in different files are measured once."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode("utf-8", "backslashreplace"))
        found.update(weights[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
