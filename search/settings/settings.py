"""Settings: `study.toml` and flags, validated before anything is created.

Whether a path exists is asked of `os.path`: pathlib raises OSError for a name that is too long.
"""

import functools
import os
import re
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from search.errors import UserError
from search.settings import sections
from search.settings.bucket import parse_s3
from search.settings.sections import MINIATURE, STOCK, Section
from search.settings.storage_url import check_storage, safe_url
from search.text import printable, without_urls
from search.trial import evaluation_steps
from space.reader import WINDOWS, explained, load_file, load_preset, read_toml
from space.search_space import Baseline, SearchSpace

DEFAULT_FILE = Path("study.toml")


class Settings(Section):
    """All settings of a study, as in `study.toml`. Paths that come from a file are absolute."""

    study: sections.Study = sections.Study()
    data: sections.Data = sections.Data()
    base: sections.Base = sections.Base()
    training: sections.Training = sections.Training()
    space: sections.Space = sections.Space()
    pruning: sections.Pruning = sections.Pruning()
    confirm: sections.Confirm = sections.Confirm()
    train: sections.Train = sections.Train()
    speech: sections.Speech = sections.Speech()
    service: sections.Service = sections.Service()

    @property
    def is_miniature(self) -> bool:
        return self.data.path == MINIATURE and self.base.path == MINIATURE

    @property
    def directory(self) -> Path:
        return self.study.directory / self.study.name

    @property
    def storage_url(self) -> str:
        if self.study.storage:
            return self.study.storage
        path = str((self.directory / "study.db").absolute())
        # SQLAlchemy reads a URL's signs in it, and Optuna puts its version in place of a name in braces.
        return "sqlite:///" + re.sub(r"[%?#{}]", lambda sign: f"%{ord(sign[0]):02X}", path)

    @property
    def is_sqlite(self) -> bool:
        return self.storage_url.startswith("sqlite")

    @property
    def conditioning_seconds(self) -> tuple[float, float]:
        """Shortest and longest slice of a clip that conditions the model on its voice."""
        low, high = (0.5, 1.0) if self.base.path == MINIATURE else (3.0, 6.0)  # 3-6 s: the stock recipe's
        return self.data.min_conditioning_seconds or low, self.data.max_conditioning_seconds or high

    def full_horizon(self, train_clips: int) -> int:
        """Optimizer steps of the full run."""
        if self.training.steps is not None:
            return self.training.steps
        return max(1, round((self.training.epochs or 10) * steps_an_epoch(self, train_clips)))

    def trial_horizon(self, train_clips: int) -> int:
        """Optimizer steps of a trial. Raises UserError when the full run has too few for a trial."""
        full, milestones = self.full_horizon(train_clips), self.search_space().milestones.max
        fewest = max(self.training.evaluations, milestones + 1)
        if fewest > full:
            raise UserError(
                f"the full run has {full} optimizer steps, fewer than the {fewest} that a trial needs for"
                f" training.evaluations = {self.training.evaluations} and up to {milestones} milestones; lengthen the"
                " run (training.epochs), or lower the evaluations or the accumulation"
            )
        return max(fewest, round(full * self.training.truncation))

    def full_evaluation_steps(self, train_clips: int) -> list[int]:
        """The optimizer steps at which a full run is evaluated."""
        return evaluation_steps(self.full_horizon(train_clips), self.training.full_evaluations)

    def search_space(self) -> SearchSpace:
        """The ranges to search. Raises UserError for a space that cannot be read."""
        return self._search_space

    @functools.cached_property
    def _search_space(self) -> SearchSpace:  # parsed once per `load`
        return _space(self.space.file, self.space.preset or self._preset)

    def stock_recipe(self) -> Baseline:
        """coqui's recipe, V0, unchanged; a space of the user's own may lack it, or not contain it."""
        return next((b for b in self.search_space().baselines if b.name == STOCK), self.coqui_recipe())

    def coqui_recipe(self) -> Baseline:
        """coqui's recipe as the preset of the base has it, whatever a space of the user's own calls V0."""
        return next(b for b in _space(None, self._preset).baselines if b.name == STOCK)

    @property
    def _preset(self) -> str:
        """The space that belongs to the base."""
        return MINIATURE if self.base.path == MINIATURE else "xtts-v2"

    def to_toml(self) -> str:
        """The settings as resolved, for the study's folder. No password."""
        values = self.model_dump(mode="json", exclude_none=True)
        # Absolute, because the file is read from the study's folder.
        _change_paths(values, lambda path: path.absolute())
        if "storage" in values["study"]:
            values["study"]["storage"] = safe_url(values["study"]["storage"])
        return "# The settings of this study as resolved; written by study.py.\n" + tomli_w.dumps(values)


def _space(file: Path | None, preset: str) -> SearchSpace:
    """Raises UserError."""
    try:
        return load_preset(preset) if file is None else load_file(file)
    except FileNotFoundError as error:
        raise UserError(f"space.file is {printable(str(file))}, which does not exist") from error
    except OSError as error:
        raise UserError(f"space.file is {file}, which cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def steps_an_epoch(settings: Settings, train_clips: int) -> int:
    """Optimizer steps that coqui's trainer makes of one epoch; the last may have fewer micro-batches."""
    return ceil(ceil(train_clips / settings.training.batch_size) / settings.training.accumulation)


# The default study: 40 trials take minutes on two cores.
MINIATURE_SETTINGS: dict[str, dict[str, Any]] = {
    "study": {"name": MINIATURE},
    "data": {"language": "am", "eval": "eval.csv", "probe_clips": 20},
    "training": {"batch_size": 4, "accumulation": 1, "epochs": 40, "eval_batch_size": 20},
    "speech": {"sentences": 1},
}


_EXCLUSIVE = (("training", "epochs", "steps"), ("space", "preset", "file"))
_URLS = (("study", "storage"), ("study", "artifacts"))
_PATHS = (
    ("data", "path"), ("base", "path"), ("space", "file"), ("study", "directory"), ("study", "artifacts"),
    ("speech", "recogniser"),
)  # fmt: skip
_FILES = (*_PATHS, ("data", "train"), ("data", "eval"))
_OF_WINDOWS = re.compile(r"\\|(?<![A-Za-z])[A-Za-z]:/|[\x00-\x1f]")  # \n of "C:\new" is a line end


def _change_paths(values: Mapping[str, dict[str, Any]], change: Callable[[Path], Path]) -> None:
    """Applies `change` to every setting that is a path: not to URLs, nor to the miniature's name. Raises UserError."""
    for section, key in _PATHS:
        value = values.get(section, {}).get(key)
        is_miniature = value == MINIATURE and section in ("data", "base")
        if isinstance(value, str) and "://" not in value and not is_miniature:
            try:
                values[section][key] = str(change(Path(value)))
            except (ValueError, OSError, RuntimeError) as error:  # NUL, a loop of links, the home of nobody
                raise UserError(f"{section}.{key} is {value!r}, which cannot be a path: {error}") from error


def load(path: Path | None, overrides: Mapping[str, Any], shows: bool = False) -> Settings:
    """Settings from the file `path`, changed by `overrides`. Without a path: `study.toml` of the working folder, or
    the miniature where there is none.

    `overrides` maps "section.key" to a value. Relative paths in the file are relative to its folder. A command that
    only `shows` a study needs neither its data nor its base. Raises UserError in one line.
    """
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    return resolve(_read(path) if path is not None else {}, overrides, path, shows)


def resolve(
    given: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any], path: Path | None, shows: bool = False
) -> Settings:
    """Settings from `given` values by section under `overrides`; errors name `path` as their source."""
    nested: dict[str, dict[str, Any]] = {}
    for key, value in overrides.items():
        section, _, field = key.partition(".")
        if not field:
            raise UserError(f"setting {key!r} is not of the form section.key=value")
        nested.setdefault(section, {})[field] = value
    values = _over(given, nested)
    if values.get("data", {}).get("path", MINIATURE) == values.get("base", {}).get("path", MINIATURE) == MINIATURE:
        values = _over(MINIATURE_SETTINGS, values)
    elif "name" not in values.get("study", {}):
        folder = (path.absolute().parent if path else Path.cwd()).name
        values.setdefault("study", {})["name"] = re.sub(r"[^A-Za-z0-9]+", "-", folder).strip("-")[:64] or "study"
    for section, entries in values.items():
        for key, value in entries.items():
            shown = printable(str(value))
            if isinstance(value, str) and "://" in value:
                if (section, key) not in _URLS:
                    raise UserError(f"{section}.{key} is a URL; only study.storage and study.artifacts may be one")
            elif (section, key) in _FILES and _OF_WINDOWS.search(str(value)) and not os.path.exists(str(value)):
                raise UserError(f"{section}.{key} is {shown}, which does not exist; use forward slashes. {WINDOWS}")
    for section, one, other in _EXCLUSIVE:
        if {one, other} <= values.get(section, {}).keys():
            raise UserError(f"{path or 'the command line'}: {section}: give {one} or {other}, not both")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        told = explained(error, Settings, depth=2)
        raise UserError(f"{path}: {without_urls(told)}" if path else without_urls(told)) from error
    if not shows:
        _check_inputs(settings)
    for place in (settings.directory, *settings.directory.parents):
        if os.path.exists(place) and not os.path.isdir(place):
            directory = settings.study.directory
            raise UserError(f"study.directory is {directory}, but {place} is a file; name another folder")
    if settings.study.storage is not None:
        check_storage(settings.study.storage)
    if "://" in (settings.study.artifacts or ""):
        parse_s3(str(settings.study.artifacts))
    settings.search_space()
    return settings


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        values = read_toml(path)
    except FileNotFoundError as error:
        step = "see study.example.toml for one to start from"
        raise UserError(f"settings file {path} does not exist; {step}") from error
    except (ValueError, OSError) as error:
        raise UserError(f"settings file {path} cannot be read: {error}") from error
    for section, entries in values.items():
        if not isinstance(entries, dict):
            allowed = ", ".join(Settings.model_fields)
            raise UserError(f"{path}: unknown key {section!r} outside a section; sections are {allowed}")
    folder = path.absolute().parent
    _change_paths(values, lambda given: (folder / given.expanduser()).resolve())
    return values


def _over(below: Mapping[str, Mapping[str, Any]], above: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """`above` over `below`, by section. Of two keys that exclude each other, the one above replaces the other."""
    merged = {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}
    for section, *pair in _EXCLUSIVE:
        given = above.get(section, {}).keys() & set(pair)
        for other in set(pair) - given if len(given) == 1 else ():
            merged[section].pop(other, None)
    return merged


def _check_inputs(settings: Settings) -> None:
    data, base, recogniser = settings.data, settings.base, settings.speech.recogniser
    for section, folder in (("data", data.path), ("base", base.path)):
        if folder != MINIATURE and not os.path.isdir(folder):
            step = 'name another, or "miniature"'
            raise UserError(f"{section}.path is {printable(str(folder))}, which is not a folder; {step}")
    for key, name in (("train", data.train), ("eval", data.eval)):
        if data.path != MINIATURE and name and data.formatter == "coqui":
            refuse_absent(Path(data.path), name, f"data.{key}")
    if base.path != MINIATURE:
        _check_base(Path(base.path))
    if recogniser is not None and not os.path.isfile(recogniser / "config.json"):
        raise UserError(
            f"speech.recogniser is {recogniser}, which is not a folder with a config.json; name a folder with a speech"
            " recogniser for transformers (nothing is downloaded), or leave it out"
        )
    low, high = settings.conditioning_seconds
    if low > high:
        raise UserError(f"data.min_conditioning_seconds is {low}, above data.max_conditioning_seconds {high}")


def refuse_absent(root: Path, table: str, key: str) -> None:
    """Raises UserError for a table that is not in the folder of the data, with those that are."""
    if not os.path.exists(root / table):
        tables = sorted(p.name for p in root.glob("*") if p.suffix in (".csv", ".tsv", ".txt"))
        step = f"tables in this folder: {', '.join(tables[:10]) or 'none'}"
        raise UserError(f"{key} is {table!r}, but {root / table} does not exist; {step}")


def _check_base(folder: Path) -> None:
    wanted = ("config.json", "model.pth", "dvae.pth", "mel_stats.pth", "vocab.json")
    missing = [name for name in wanted if not (folder / name).is_file()]
    if not missing:
        return
    found = sorted(p.name for kind in ("best_model", "checkpoint") for p in folder.glob(f"{kind}*.pth"))
    step = f"; {found[0]} is a fine-tuned checkpoint: to start from it, name it model.pth" if found else ""
    if missing == ["model.pth"] and any(folder.glob("*.safetensors")):
        step = "; weights in a .safetensors file are not read: take the model.pth of coqui's XTTS-v2"
    lacking = f"base.path {folder} lacks {', '.join(missing)}"
    raise UserError(f"{lacking}; an XTTS base has {', '.join(wanted)}{step}")
