"""The judgement: a report of settings, survey and machine."""

from search.check import base, clips, course, lengths, letters, resources, sound, split
from search.check.judgement import Report, sorted_findings
from search.check.machine import Machine
from search.check.memory import Probe
from search.check.survey import Survey
from search.errors import UserError
from search.settings.sections import MINIATURE
from search.settings.settings import Settings


def judge(settings: Settings, survey: Survey, machine: Machine, probe: Probe | None = None) -> Report:
    """What is to be said of them. Reads no file, so that it takes seconds for 100,000 clips.

    `probe` is what a GPU measured. A search must not start where there is an error.
    """
    steps, of_course = course.judge(settings, survey)
    memory, of_memory = resources.memory(settings, survey, machine, probe)
    lacking, distributions = letters.lacking(survey), lengths.distributions(settings, survey)
    findings = [
        *base.judge(settings, survey),
        *clips.judge(settings, survey),
        *letters.judge(settings, survey, lacking),
        *split.judge(settings, survey),
        *lengths.judge(distributions, survey),
        *sound.judge(survey),
        *of_course,
        *of_memory,
        *resources.disk(settings, survey, machine, steps),
        *resources.processors(settings, machine),
    ]
    return Report(
        study=settings.study.name,
        root="" if settings.data.path == MINIATURE else str(settings.data.path),
        findings=sorted_findings(findings),
        parts=clips.parts(survey),
        speakers=clips.speakers(survey),
        letters=lacking,
        tags=[token for token in survey.missing if len(token) > 1 and token.startswith("[")],
        lengths=distributions,
        dropped=[row for row in survey.rows if row.reason or row.stock],
        sound=sound.summary(survey),
        course=steps,
        memory=memory,
        machine=machine,
        probe=probe,
    )


def refuse(report: Report) -> None:
    """Raises UserError for a report with errors: the first is its message, the others are its details."""
    errors = report.of("error")
    if errors:
        details = [f"{e.area}: {e.message}; {e.next_step}" if e.next_step else f"{e.area}: {e.message}" for e in errors]
        raise UserError(details[0], details[1:])
