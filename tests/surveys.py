"""Surveys made by hand: what a check judges, without a file."""

from typing import Any

from search.check.judgement import Report
from search.check.judging import judge
from search.check.machine import Gpu, Machine
from search.check.memory import Model
from search.check.survey import BaseFacts, Recording, Row, Survey
from search.settings.settings import Settings

GB = 10**9
# XTTS-v2's sizes.
BASE = BaseFacts(
    directory="/base", error=None, languages=("en",), max_audio_seconds=28.0, max_text_tokens=402,
    gpt=Model(30, 1024, 16, 6681, 1026, 441_000_000), total_parameters=518_400_000,
)  # fmt: skip
MACHINE = Machine(
    cpus=8, memory=64 * GB, gpus=(Gpu("GPU of 24 GB", 24 * GB),), cache="/cache", cache_free=500 * GB, study="/study",
    study_free=500 * GB, same_disk=False,
)  # fmt: skip


def settings(**given: Any) -> Settings:
    """Of a study on data in /d and a base of the user's own; `given` are settings like `data__language`."""
    values: dict[str, dict[str, Any]] = {"data": {"path": "/d"}, "base": {"path": "/base"}, "study": {"name": "s"}}
    for name, value in given.items():
        section, _, key = name.partition("__")
        values.setdefault(section, {})[key] = value
    return Settings.model_validate(values)


def row(part: str, name: str, **given: Any) -> Row:
    values = {
        "text": f"the text of {name}", "speaker": "a", "language": "en", "tokens": 20, "unknown": [], "reason": None,
        "stock": None, **given,
    }  # fmt: skip
    return Row(part=part, audio_file=name, **values)


def recording(name: str, **given: Any) -> Recording:
    values = {
        "digest": f"digest of {name}", "error": None, "sample_rate": 24_000, "channels": 1,
        "seconds": 3.0, "samples": 66_150, "peak": 0.6, "rms": 0.1, "silent": 0.1, **given,
    }  # fmt: skip
    return Recording(path=name, **values)


def survey(rows: list[Row], recordings: list[Recording] | None = None, **given: Any) -> Survey:
    """Recordings that are not given are sound ones."""
    known = {name.path: name for name in recordings or []}
    found = {r.audio_file: known.get(r.audio_file) or recording(r.audio_file) for r in rows}
    values = {"table_remarks": [], "assumed": [], "missing": [], "base": BASE, **given}
    return Survey(sample_rate=22_050, rows=rows, recordings=found, **values)


def healthy() -> list[Row]:
    """175 clips of training and 25 of eval (12.5 %), of two speakers, nothing wrong with them."""
    return [
        row("train" if i % 8 else "eval", f"/d/clip-{chr(97 + i % 26)}{i}x.wav", speaker="ab"[i % 2])
        for i in range(200)
    ]


def report(rows: list[Row], recordings: list[Recording] | None = None, **given: Any) -> Report:
    """Of a survey; `given` are settings, like data__eval, or its other fields."""
    of_settings = {name: value for name, value in given.items() if "__" in name}
    others = {name: value for name, value in given.items() if "__" not in name}
    machine, probe = others.pop("machine", MACHINE), others.pop("probe", None)
    return judge(settings(**of_settings), survey(rows, recordings, **others), machine, probe)


def said(made: Report, words: str) -> list[tuple[str, list[str]]]:
    """(level, details) of the findings whose message holds `words`."""
    return [(f.level, f.details) for f in made.findings if words in f.message]
