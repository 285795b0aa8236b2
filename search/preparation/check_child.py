"""What the process of a check does: survey data and base, then measure memory on a GPU if there is one."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.preparation.probe import CudaMeter, probe
from search.preparation.surveying import make_survey
from search.settings.settings import Settings
from search.trial import Caller


def run(caller: Caller, settings: str, cache: str, survey: str, measure: bool) -> dict[str, Any] | None:
    """Writes the survey into the file `survey`; returns what a probe of the GPU measured. Says "progress"."""

    def progress(text: str) -> None:
        caller.say("progress", text=text)

    given = Settings.model_validate_json(settings)
    found = make_survey(given, Path(cache), progress)
    found.write(Path(survey))
    if not measure or found.base.error is not None or not found.part("train"):
        return None
    return asdict(probe(given, found, CudaMeter(), progress))
