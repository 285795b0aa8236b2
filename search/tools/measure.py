"""Finds what the checkpoints of a report can be measured on, and has them measured in a process of its own."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.preparation.cache import cache_directory
from search.settings.sections import Base, Data
from search.settings.settings import Settings
from search.text import printable
from search.tools.checkpoint_request import Request
from search.tools.run_folder import Checkpoint, Report, Run
from search.trial import Evaluation, TrialSpec
from search.workers.launcher import Failed, Launcher

GIVE = "give data.path, data.train, data.eval, data.language and base.path, by --settings or --set, to measure them"

# The files of a base, and what a run's config.json calls them (GPTArgs); config.json is then the run's own.
BASE_FILES = {
    "model.pth": "xtts_checkpoint",
    "dvae.pth": "dvae_checkpoint",
    "mel_stats.pth": "mel_norm_file",
    "vocab.json": "tokenizer_file",
}

TARGET = "search.tools.checkpoint:run"


class NotFound(Exception):
    """Data or base are not on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Source:
    """What to measure on."""

    words: str
    settings: Settings | None = None
    base_files: tuple[tuple[str, Path], ...] = ()  # of a base whose files lie apart; base.path is then made of them,
    config: Path | None = field(default=None, compare=False)  # and of the run's config.json; each run has its own
    prepared: str | None = None
    extended: bool = False


def measure(report: Report, settings: Settings, progress: Callable[[str], None]) -> None:
    """Fills in what the files hold and, where data and base are found, what they are measured to be.

    Raises UserError only for what has nothing to do with the runs; else `report.unmeasured` says why there is nothing.
    """
    files = [c for c in report.checkpoints if c.reason is None]
    if not files:
        return
    source = None
    try:
        source = find_source(report, settings)
        report.measured_on = source.words
    except NotFound as error:
        report.unmeasured = str(error)
    with tempfile.TemporaryDirectory(prefix="xtts-base-") as folder:
        _run(report, files, _request(source, files, Path(folder)), progress)
    for name in ("unmeasured", "base_reason"):
        if reason := getattr(report, name):
            setattr(report, name, reason.replace(folder, "the base of config.json"))
    if report.unmeasured:
        report.measured_on = None


def find_source(report: Report, settings: Settings) -> Source:
    """The user's settings where they name data; else what the runs themselves name. Raises NotFound."""
    holding = [run for run in report.runs if run.checkpoints]
    if "path" in settings.data.model_fields_set:
        return _of_settings(holding, settings)
    found = [_of_our_run(run) if run.is_ours else _of_config(run, settings) for run in holding]
    if any(source != found[0] for source in found):
        raise NotFound(f"the runs name different data or bases, and one eval set must judge all: {GIVE}")
    return found[0]


def _of_settings(runs: list[Run], settings: Settings) -> Source:
    words = f"{settings.data.path} ({settings.data.eval or 'a share of ' + settings.data.train})"
    if any(run.is_ours for run in runs):
        return Source(words, settings, extended=True)  # as the search before them did
    if "path" not in settings.base.model_fields_set and runs[0].config is not None:
        return Source(words, settings, _base_files(runs[0]), runs[0].path / "config.json")
    return Source(words, settings)


def _of_our_run(run: Run) -> Source:
    """The folder of the prepared data that the run's spec names."""
    for folder in (run.path, run.path.parent):
        with suppress(OSError, ValueError, TypeError, KeyError):
            spec = TrialSpec.from_json((folder / "spec.json").read_text(encoding="utf-8"))
            if (Path(spec.prepared) / "prepared.json").is_file():
                return Source("the eval set of its study", prepared=spec.prepared)
            raise NotFound(f"the prepared data of {_name(run)} is gone from {spec.prepared}: {GIVE}")
    raise NotFound(f"{_name(run)} has no spec.json, which names its data: {GIVE}")


def _of_config(run: Run, settings: Settings) -> Source:
    """Data, lengths and base as config.json has them. Raises NotFound."""
    config = run.config
    if config is None:
        raise NotFound(f"{_name(run)} has no config.json that names its data: {GIVE}")
    listed = config.get("datasets")
    dataset = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else None
    if dataset is None or not dataset.get("path"):
        raise NotFound(f"config.json of {_name(run)} names no data (datasets): {GIVE}")
    root = Path(str(dataset["path"])).expanduser()
    if not root.is_dir():
        raise NotFound(f"config.json of {_name(run)} names the data {root}, which is not on this machine: {GIVE}")
    if not dataset.get("meta_file_val"):
        raise NotFound(f"config.json of {_name(run)} names no eval table (meta_file_val): {GIVE}")
    base_files = _base_files(run)
    try:
        data = Data.model_validate(
            {
                "path": root.absolute(),
                "formatter": dataset.get("formatter"),
                "train": dataset.get("meta_file_train"),
                "eval": dataset.get("meta_file_val"),
                "language": dataset.get("language"),
                "probe_clips": settings.data.probe_clips,
                **_lengths(config),
            }
        )
    except (ValidationError, TypeError, ZeroDivisionError) as error:
        what = error.errors()[0]["loc"][0] if isinstance(error, ValidationError) else error
        raise NotFound(f"config.json of {_name(run)} has a value that cannot be used ({what}): {GIVE}") from error
    chosen = settings.model_copy(update={"data": data, "base": Base(extend_vocabulary=False)})
    others = f", the first of {len(listed)} datasets" if isinstance(listed, list) and len(listed) > 1 else ""
    return Source(
        f"{root} ({data.eval}), as its config.json names it{others}", chosen, base_files, run.path / "config.json"
    )


def _lengths(config: dict[str, Any]) -> dict[str, Any]:
    """The run's own limits in seconds, of samples at its rate (GPTArgs; XttsAudioConfig's rate is 22,050)."""
    arguments, audio = config.get("model_args"), config.get("audio")
    arguments = arguments if isinstance(arguments, dict) else {}
    rate = audio.get("sample_rate", 22_050) if isinstance(audio, dict) else 22_050
    lengths = {
        "max_audio_seconds": arguments.get("max_wav_length", 255_995) / rate,
        "min_conditioning_seconds": arguments.get("min_conditioning_length", 66_150) / rate,
        "max_conditioning_seconds": arguments.get("max_conditioning_length", 132_300) / rate,
    }
    return {**lengths, "max_text_tokens": arguments.get("max_text_length", 200)}


def _base_files(run: Run) -> tuple[tuple[str, Path], ...]:
    """The files of the base that config.json names; one that is not there is looked for beside the others.

    Raises NotFound. The model itself may be gone: a checkpoint can stand in for it.
    """
    arguments = (run.config or {}).get("model_args")
    named = {name: str((arguments or {}).get(key) or "") for name, key in BASE_FILES.items()}
    there = {name: Path(path) for name, path in named.items() if path and Path(path).is_file()}
    for name in BASE_FILES.keys() - there.keys():
        beside = [path.parent / name for path in there.values() if (path.parent / name).is_file()]
        there.update({name: beside[0]} if beside else {})
    missing = [f"{name} ({named[name] or 'not named'})" for name in BASE_FILES if name not in there]
    if missing and missing != [f"model.pth ({named['model.pth'] or 'not named'})"]:
        raise NotFound(f"the base of {_name(run)} is not on this machine: no {', '.join(missing)}: {GIVE}")
    return tuple(sorted((name, path.absolute()) for name, path in there.items()))


def _name(run: Run) -> str:
    return printable(run.path.name)


def _request(source: Source | None, files: list[Checkpoint], folder: Path) -> Request:
    paths, cache = [str(c.path.absolute()) for c in files], str(cache_directory())
    if source is None:
        return Request(paths, cache)
    if source.prepared or source.settings is None:
        return Request(paths, cache, prepared=source.prepared)
    settings = source.settings
    if source.config:
        for name, path in (*source.base_files, ("config.json", source.config.absolute())):
            (folder / name).symlink_to(path)
        settings = settings.model_copy(update={"base": Base(path=folder, extend_vocabulary=False)})
    return Request(paths, cache, settings.model_dump_json(), extended=source.extended)


def _run(report: Report, files: list[Checkpoint], request: Request, progress: Callable[[str], None]) -> None:
    progress("loading torch and TTS")
    try:
        Launcher().call(TARGET, {"request": asdict(request)}, lambda message: _take(report, files, message, progress))
    except Failed as error:
        report.unmeasured = f"measuring failed: {error}"


def _take(report: Report, files: list[Checkpoint], message: dict[str, Any], progress: Callable[[str], None]) -> None:
    """One message of the process into the report."""
    match message:
        case {"kind": "progress", "text": text}:
            progress(text)
        case {"kind": "unmeasured", "reason": reason}:
            report.unmeasured = reason
        case {"kind": "base", "evaluation": found, "eval_clips": held_out, "probe_clips": probe}:
            report.base = Evaluation(**found) if found else None
            report.base_reason = message["reason"]
            report.measured_on = f"{held_out} eval and {probe} training clips of {report.measured_on}"
        case {"kind": "opened" | "measured", "file": number, "reason": reason}:
            files[number].reason = reason
        case {"kind": "opened", "file": number}:
            opened = files[number]
            for name in ("step", "epoch", "date", "claimed_train", "claimed_eval"):
                if message[name] is not None:
                    setattr(opened, name, message[name])
        case {"kind": "measured", "file": number, "evaluation": found, "same_as": first}:
            files[number].evaluation = Evaluation(**found)
            files[number].same_as = None if first is None else files[first].name
