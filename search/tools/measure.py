"""Finds what the checkpoints of runs can be measured on, and has them measured in a process of its own."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.preparation.cache import cache_directory
from search.settings.sections import Base, Data
from search.settings.settings import Settings
from search.text import printable
from search.tools.run_folder import NAME_A_TABLE, Inspection, LoggedRun
from search.trial import Evaluation, TrialSpec
from search.workers.launcher import Failed, Launcher
from search.workers.session import told

TARGET = "search.tools.bench:run"
SPLIT = ("datasets", "eval_split_size", "eval_split_max_size")
GIVE = "give data.path, data.train, data.eval, data.language and base.path, by --settings or --set, to measure them"

# The files of a base, and what a run's config.json calls them (GPTArgs); config.json is then the run's own.
BASE_FILES = {
    "model.pth": "xtts_checkpoint",
    "dvae.pth": "dvae_checkpoint",
    "mel_stats.pth": "mel_norm_file",
    "vocab.json": "tokenizer_file",
}


class NotFound(Exception):
    """Data or base are not on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Material:
    """What to measure on: a folder of prepared data, or settings that name data and base."""

    words: str
    settings: Settings | None = None
    extended: bool = False  # prepare data and base as a search does, with the letters that the base lacks
    prepared: str | None = None
    split: dict[str, Any] | None = None  # of the run's config.json, what decides which clips it held out
    logged: dict[str, Any] = field(default_factory=dict, compare=False)  # of the run: what shows whether that is right
    unsure: str | None = None  # why it is not known whether the run trained on the eval clips
    base_files: tuple[tuple[str, Path], ...] = ()  # of a base whose files lie apart; base.path is then made of them
    config: Path | None = field(default=None, compare=False)  # and of the run's config.json; each run has its own


def measure(found: Inspection, settings: Settings, progress: Callable[[str], None]) -> None:
    """Fills in what the files hold and, where data and base are found, what they are measured to be.

    Raises UserError only for what has nothing to do with the runs; else `found.unmeasured` says why there is nothing.
    """
    if not any(c.reason is None for c in found.checkpoints):
        return
    material = None
    try:
        material = find_material(found, settings)
        found.measured_on, found.unsure = material.words, material.unsure
    except NotFound as error:
        found.unmeasured = str(error)
    progress("loading torch and TTS")
    with tempfile.TemporaryDirectory(prefix="xtts-base-") as folder:
        try:
            _measure(found, _request(material, Path(folder)), progress)
        except Failed as error:
            found.unmeasured = f"measuring failed: {error}"
        for name in ("unmeasured", "base_reason", "unsure"):
            if reason := getattr(found, name):
                setattr(found, name, reason.replace(folder, "the base of config.json"))
    if found.unmeasured:
        found.measured_on = None


def _request(material: Material | None, folder: Path) -> dict[str, Any]:
    """What the process is to measure on; `folder` takes the base of files that lie apart."""
    settings = material.settings if material else None
    if settings and material and material.config:
        for name, path in (*material.base_files, ("config.json", material.config.absolute())):
            (folder / name).symlink_to(path)
        settings = settings.model_copy(update={"base": Base(path=folder, extend_vocabulary=False)})
    return {
        "settings": settings.model_dump_json() if settings else None,
        "extended": material is not None and material.extended,
        "prepared": material.prepared if material else None,
        "split": {**material.split, **material.logged} if material and material.split else None,
        "cache": str(cache_directory()),
    }


def _measure(found: Inspection, request: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Takes what the process answers into the inspection. Raises Failed."""
    files = [c for c in found.checkpoints if c.reason is None]
    request["files"] = [str(c.path.absolute()) for c in files]
    answer = Launcher().call(TARGET, request, told(progress))
    found.unmeasured = answer["unmeasured"] or found.unmeasured
    if bench := answer["bench"]:
        found.base = Evaluation(**bench["base"]) if bench["base"] else None
        found.base_reason = bench["base_reason"]
        found.unsure = bench["unsure"] or found.unsure
        clips = f"{bench['eval_clips']} eval and {bench['probe_clips']} training clips"
        found.measured_on = f"{clips} of {found.measured_on}{bench['held_out']}"
    for checkpoint, said in zip(files, answer["files"], strict=True):
        for name in ("step", "epoch", "claimed_train", "claimed_eval", "reason"):
            if said.get(name) is not None:
                setattr(checkpoint, name, said[name])
        if "evaluation" in said:
            checkpoint.evaluation = Evaluation(**said["evaluation"])
            checkpoint.same_as = None if said["same_as"] is None else files[said["same_as"]].name


def find_material(found: Inspection, settings: Settings) -> Material:
    """What the runs can be measured on, the same for all. Raises NotFound."""
    runs = [run for run in found.runs if run.checkpoints]
    materials = [(_of_our_run if run.is_ours else _of_coquis_run)(run, settings) for run in runs]
    if any(material != materials[0] for material in materials):
        raise NotFound(f"the runs name different data or bases, and one eval set must judge all: {GIVE}")
    return materials[0]


def _of_our_run(run: LoggedRun, settings: Settings) -> Material:
    """The prepared data that the run's spec names; else the user's settings, prepared as a search does."""
    missing = f"{_name(run)} has no spec.json, which names its data"
    for folder in (run.path, run.path.parent):
        with suppress(OSError, ValueError, TypeError, KeyError):
            spec = TrialSpec.from_json((folder / "spec.json").read_text(encoding="utf-8"))
            if (Path(spec.prepared) / "prepared.json").is_file():
                return Material("the eval set of its study", prepared=spec.prepared)
            missing = f"the prepared data of {_name(run)} is no longer at {spec.prepared}"
    if "path" not in settings.data.model_fields_set:
        raise NotFound(f"{missing}: {GIVE}")
    unsure = f"{missing}, so these may be other clips than those that it held out"
    return Material(_words(settings.data), settings, extended=True, unsure=unsure)


def _of_coquis_run(run: LoggedRun, settings: Settings) -> Material:
    """The user's settings where they name data, else the run's config.json; and the clips that the run held out."""
    split, logged = None, {}
    if run.config is not None and run.config.get("datasets"):
        split = {name: run.config.get(name) for name in SPLIT}
        logged = {"batch_size": run.config.get("batch_size"), "batches": run.batches}
        settings = _completed(settings, run, split["datasets"])
    if "path" not in settings.data.model_fields_set:
        return replace(_of_config(run, settings), split=split, logged=logged)
    unsure = None if split else f"{_name(run)} has no config.json that names the clips that it trained on"
    if unsure and not settings.data.eval:
        raise NotFound(f"{unsure}, and a share of {settings.data.train} may be among them: {NAME_A_TABLE}")
    material = Material(_words(settings.data), settings, split=split, logged=logged, unsure=unsure)
    if "path" not in settings.base.model_fields_set and run.config is not None:
        return replace(material, base_files=_base_files(run), config=run.path / "config.json")
    return material


def _completed(settings: Settings, run: LoggedRun, datasets: Any) -> Settings:
    """The settings; what they do not name, lengths and a table of eval clips in their data, as the run had it."""
    data, first = settings.data, datasets[0] if isinstance(datasets, list) and isinstance(datasets[0], dict) else {}
    changes = {name: value for name, value in _lengths(run).items() if name not in data.model_fields_set}
    table = first.get("meta_file_val")
    if not data.eval and table and (Path(data.path) / str(table)).is_file():
        changes["eval"] = str(table)
    return settings.model_copy(update={"data": data.model_copy(update=changes)})


def _words(data: Data) -> str:
    return f"{data.path} ({data.eval or data.train})"


def _of_config(run: LoggedRun, settings: Settings) -> Material:
    """Data, lengths and base as config.json has them. Raises NotFound."""
    if run.config is None:
        raise NotFound(f"{_name(run)} has no config.json that names its data: {GIVE}")
    listed = run.config.get("datasets")
    dataset = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    root = Path(str(dataset.get("path"))).expanduser()
    if not dataset.get("path") or not root.is_dir():
        there = f"the data {root}, which is not on this machine" if dataset.get("path") else "no data (datasets)"
        raise NotFound(f"config.json of {_name(run)} names {there}: {GIVE}")
    base_files = _base_files(run)
    try:
        data = Data.model_validate(
            {
                "path": root.absolute(),
                "formatter": dataset.get("formatter"),
                "train": dataset.get("meta_file_train"),
                "eval": dataset.get("meta_file_val") or None,
                "language": dataset.get("language"),
                "probe_clips": settings.data.probe_clips,
                **_lengths(run),
            }
        )
    except ValidationError as error:
        what = error.errors()[0]["loc"][0]
        raise NotFound(f"config.json of {_name(run)} has a value that cannot be used ({what}): {GIVE}") from error
    chosen = settings.model_copy(update={"data": data, "base": Base(extend_vocabulary=False)})
    words = f"{_words(data)}, as its config.json names it"
    if isinstance(listed, list) and len(listed) > 1:
        words += f", the first of {len(listed)} datasets"
    return Material(words, chosen, base_files=base_files, config=run.path / "config.json")


def _lengths(run: LoggedRun) -> dict[str, Any]:
    """The run's own limits in seconds, of samples at its rate (GPTArgs; XttsAudioConfig's rate is 22,050)."""
    config = run.config or {}
    arguments, audio = config.get("model_args"), config.get("audio")
    arguments = arguments if isinstance(arguments, dict) else {}
    rate = audio.get("sample_rate", 22_050) if isinstance(audio, dict) else 22_050
    try:
        return {
            "max_audio_seconds": arguments.get("max_wav_length", 255_995) / rate,
            "min_conditioning_seconds": arguments.get("min_conditioning_length", 66_150) / rate,
            "max_conditioning_seconds": arguments.get("max_conditioning_length", 132_300) / rate,
            "max_text_tokens": arguments.get("max_text_length", 200),
        }
    except (TypeError, ZeroDivisionError) as error:
        raise NotFound(f"config.json of {_name(run)} has a length that cannot be used ({error}): {GIVE}") from error


def _base_files(run: LoggedRun) -> tuple[tuple[str, Path], ...]:
    """The files of the base that config.json names; one that is not there is looked for beside the others.

    Raises NotFound. Only the model itself may be missing: a checkpoint can stand in for it.
    """
    arguments = (run.config or {}).get("model_args")
    named = {name: str((arguments or {}).get(key) or "") for name, key in BASE_FILES.items()}
    there = {name: Path(path) for name, path in named.items() if path and Path(path).is_file()}
    for name in BASE_FILES.keys() - there.keys():
        beside = [path.parent / name for path in there.values() if (path.parent / name).is_file()]
        there.update({name: beside[0]} if beside else {})
    missing = [name for name in BASE_FILES if name not in there]
    if missing not in ([], ["model.pth"]):
        names = ", ".join(f"{name} ({named[name] or 'not named'})" for name in missing)
        raise NotFound(f"the base of {_name(run)} is not on this machine: no {names}: {GIVE}")
    return tuple(sorted((name, path.absolute()) for name, path in there.items()))


def _name(run: LoggedRun) -> str:
    return printable(run.path.name)
