"""Has checkpoints measured in a child process, on data and with a base that the settings or the runs name."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.errors import UserError
from search.preparation.cache import cache_directory
from search.settings.sections import Data
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


@dataclass(frozen=True)
class Material:
    """What to measure on: a folder of prepared data, or settings that name data and base."""

    words: str
    settings: str | None = None  # JSON of Settings
    extended: bool = False  # prepare data and base as a search does, with the letters that the base lacks
    prepared: Path | None = None
    split: dict[str, Any] | None = None  # of the run's config.json, what decides which clips it held out
    logged: dict[str, Any] = field(default_factory=dict, compare=False)  # of the run: what shows whether that is right
    unsure: str | None = None  # why it is not known whether the run trained on the eval clips
    base_files: dict[str, Path] = field(default_factory=dict)  # of a base whose files lie apart, instead of base.path
    config: Path | None = field(default=None, compare=False)  # and of the run's config.json; each run has its own


def measure(found: Inspection, settings: Settings, progress: Callable[[str], None]) -> None:
    """Fills in what the files hold and, where data and base are found, what they are measured to be.

    `found.unmeasured` says why there is nothing.
    """
    files = found.checkpoints
    if not files:
        return
    material = None
    try:
        material = find_material(found, settings)
        found.unsure = material.unsure
    except UserError as error:
        found.unmeasured = str(error)
    progress("loading torch and TTS")
    request = {"files": [c.path.absolute() for c in files], "material": material, "cache": cache_directory()}
    try:
        answer = Launcher().call(TARGET, request, told(progress))
    except Failed as error:
        found.unmeasured = f"measuring failed: {error}"
        return
    for name, value in answer["found"].items():
        setattr(found, name, Evaluation(**value) if name == "base" and value else value)
    for checkpoint, said in zip(files, answer["files"], strict=True):
        if "evaluation" in said:
            said["evaluation"] = Evaluation(**said["evaluation"])
        if "same_as" in said:
            said["same_as"] = files[said["same_as"]].name
        for name, value in said.items():
            if value is not None:
                setattr(checkpoint, name, value)


def find_material(found: Inspection, settings: Settings) -> Material:
    """What the runs can be measured on, the same for all. Raises UserError where data or base are not here."""
    runs = [run for run in found.runs if run.checkpoints]
    materials = [(_of_our_run if run.is_ours else _of_coquis_run)(run, settings) for run in runs]
    if any(material != materials[0] for material in materials):
        raise UserError(f"the runs name different data or bases, and one eval set must judge all: {GIVE}")
    return materials[0]


def _of_our_run(run: LoggedRun, settings: Settings) -> Material:
    """The prepared data that the run's spec names; else the user's settings, prepared as a search does."""
    missing = f"{_name(run)} has no spec.json, which names its data"
    for folder in (run.path, run.path.parent):
        with suppress(OSError, ValueError, TypeError, KeyError):
            prepared = Path(TrialSpec.from_json((folder / "spec.json").read_text(encoding="utf-8")).prepared)
            if (prepared / "prepared.json").is_file():
                return Material("the eval set of its study", prepared=prepared)
            missing = f"the prepared data of {_name(run)} is no longer at {prepared}"
    if "path" not in settings.data.model_fields_set:
        raise UserError(f"{missing}: {GIVE}")
    unsure = f"{missing}, so these may be other clips than those that it held out"
    return Material(_words(settings.data), settings.model_dump_json(), extended=True, unsure=unsure)


def _of_coquis_run(run: LoggedRun, settings: Settings) -> Material:
    """Data and base of the user's settings, else of the run's config.json; and the clips that the run held out."""
    data, config = settings.data, run.config
    unsure = None if config.get("datasets") else f"{_name(run)} has no config.json that names its data"
    is_named = "path" in data.model_fields_set
    if unsure and not is_named:
        raise UserError(f"{unsure}: {GIVE}")
    if unsure and not data.eval:
        raise UserError(f"{unsure}, and a share of {data.train} may be among its training clips: {NAME_A_TABLE}")
    if not unsure:
        data = _data(run, data)
    words = _words(data) if is_named else f"{_words(data)}, as its config.json names it"
    if len(config.get("datasets", [])) > 1 and not is_named:
        words += f", the first of {len(config['datasets'])} datasets"
    chosen = settings.model_copy(update={"data": data}).model_dump_json()
    material = Material(words, chosen, unsure=unsure)
    if not unsure:
        logged = {"batch_size": config.get("batch_size"), "batches": run.batches}
        material = replace(material, split={name: config.get(name) for name in SPLIT}, logged=logged)
    if config and "path" not in settings.base.model_fields_set:
        return replace(material, base_files=_base_files(run), config=(run.path / "config.json").absolute())
    return material


def _words(data: Data) -> str:
    return f"{data.path} ({data.eval or data.train})"


def _data(run: LoggedRun, given: Data) -> Data:
    """`given`, with lengths and a table of eval clips that it does not name as the run had them; or the run's data."""
    first = run.config["datasets"][0]
    own: dict[str, Any] = {"eval": first.get("meta_file_val")}
    named = given.model_dump(include=given.model_fields_set)
    if "path" not in named:
        own |= {"train": first.get("meta_file_train"), "formatter": first.get("formatter")}
        own |= {"language": first.get("language"), "path": Path(str(first.get("path"))).expanduser().absolute()}
        named = {"probe_clips": given.probe_clips}
        if not own["path"].is_dir():
            there = f"names the data {first.get('path')}, which is not on this machine"
            raise UserError(f"config.json of {_name(run)} {there}: {GIVE}")
    elif not (Path(given.path) / str(own["eval"])).is_file():
        del own["eval"]
    try:
        return Data.model_validate({**{k: v for k, v in own.items() if v}, **_lengths(run), **named})
    except ValidationError as error:
        what = error.errors()[0]["loc"][0]
        raise UserError(f"config.json of {_name(run)} has a value that cannot be used ({what}): {GIVE}") from error


def _lengths(run: LoggedRun) -> dict[str, Any]:
    """The run's own limits in seconds, of samples at its rate (GPTArgs; XttsAudioConfig's rate is 22,050)."""
    arguments, rate = run.config["model_args"], run.config["audio"].get("sample_rate", 22_050)
    try:
        return {
            "max_audio_seconds": arguments.get("max_wav_length", 255_995) / rate,
            "min_conditioning_seconds": arguments.get("min_conditioning_length", 66_150) / rate,
            "max_conditioning_seconds": arguments.get("max_conditioning_length", 132_300) / rate,
            "max_text_tokens": arguments.get("max_text_length", 200),
        }
    except (TypeError, ZeroDivisionError) as error:
        raise UserError(f"config.json of {_name(run)} has a length that cannot be used ({error}): {GIVE}") from error


def _base_files(run: LoggedRun) -> dict[str, Path]:
    """The files of the base that config.json names; one that is not there is looked for beside the others.

    Raises UserError. Only the model itself may be missing: a checkpoint can stand in for it.
    """
    named = {name: Path(str(run.config["model_args"].get(key) or "not named")) for name, key in BASE_FILES.items()}
    folders = [path.parent for path in named.values() if path.is_file()]
    places = {name: [path, *(folder / name for folder in folders)] for name, path in named.items()}
    there = {name: next(filter(Path.is_file, paths), None) for name, paths in places.items()}
    missing = [f"{name} ({named[name]})" for name in BASE_FILES if not there[name] and name != "model.pth"]
    if missing:
        raise UserError(f"the base of {_name(run)} is not on this machine: no {', '.join(missing)}: {GIVE}")
    return {name: path.absolute() for name, path in there.items() if path}


def _name(run: LoggedRun) -> str:
    return printable(run.path.name)
