"""The process of a check: it surveys data and base, judges them, and measures memory on a GPU if there is one."""

import pickle
from dataclasses import replace
from pathlib import Path

from search.check.judging import judge
from search.check.machine import Machine
from search.errors import UserError
from search.preparation.probe import Meter, probe, refuse_base
from search.preparation.surveying import make_survey
from search.settings.settings import Settings
from search.trial import Caller


def run(caller: Caller, settings: str, cache: str, machine: Machine, report: str, measure: bool) -> None:
    """Writes the pickled report into the file `report`, and again once a GPU was measured. Says "progress"."""

    def progress(text: str) -> None:
        caller.say("progress", text=text)

    given = Settings.model_validate_json(settings)
    survey = make_survey(given, Path(cache), progress)
    if survey.base.error is None:
        progress("trying the base")
        try:
            refuse_base(given, survey)
        except UserError as refused:
            survey = replace(survey, base=replace(survey.base, error=str(refused)))
    Path(report).write_bytes(pickle.dumps(judge(given, survey, machine)))
    if measure and survey.base.error is None and survey.part("train"):
        measured = probe(given, survey, Meter(), progress)
        Path(report).write_bytes(pickle.dumps(judge(given, survey, machine, measured)))
