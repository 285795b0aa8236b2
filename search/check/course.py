"""How many optimizer steps training takes, and whether that makes sense."""

from collections.abc import Iterator

from search.check.judgement import Course, Finding
from search.check.survey import Survey
from search.errors import UserError
from search.settings.settings import Settings, steps_an_epoch
from search.trial import evaluation_steps

AREA = "training"


def judge(settings: Settings, survey: Survey) -> tuple[Course, list[Finding]]:
    """The steps, and an error when a trial has fewer than it needs for its evaluations or milestones."""
    training, clips = settings.training, len(survey.part("train"))
    if not clips:
        return Course(training.batch_size, training.accumulation), []
    epoch, full = steps_an_epoch(settings, clips), settings.full_horizon(clips)
    findings = []
    try:
        trial = settings.trial_horizon(clips)
        evaluations = len(evaluation_steps(trial, training.evaluations))
    except UserError as error:
        trial = evaluations = 0
        findings.append(Finding("error", AREA, str(error)))
    course = Course(
        training.batch_size, training.accumulation, epoch, trial, full, evaluations, trial / epoch, full / epoch
    )
    return course, [*findings, *_doubts(settings, clips)]


def _doubts(settings: Settings, clips: int) -> Iterator[Finding]:
    training = settings.training
    drawn = training.batch_size * training.accumulation
    if drawn > clips:
        message = f"an optimizer step draws {drawn} clips (batch {training.batch_size} x {training.accumulation}), but"
        message += f" there are {clips}: each step sees some of them more than once"
        yield Finding("warning", AREA, message, "lower training.accumulation")
    if settings.data.probe_clips > clips:
        message = f"data.probe_clips is {settings.data.probe_clips}, more than the {clips} training clips: all are used"
        yield Finding("info", AREA, message)
