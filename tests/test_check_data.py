"""Real files: every planted defect is named, and what is said of stock is what the stock dataset does."""

import logging
import math
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.layers.xtts.trainer.dataset import XTTSDataset

from search.check.judgement import Report
from search.check.judging import judge, refuse
from search.check.machine import look
from search.check.survey import PARTS, Row, Survey
from search.errors import UserError
from search.preparation.prepare import prepare
from search.preparation.probe import refuse_base
from search.preparation.recordings import is_endless
from search.preparation.surveying import make_survey
from search.settings.settings import Settings, load
from search.training import base
from tests import bad_data
from tests.bad_data import DEFECTS, Planted


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Settings, Survey, Report]:
    folder = bad_data.plant(tmp_path_factory.mktemp("bad"))
    return surveyed(cache, {"data.path": str(folder), "data.eval": "eval.csv", "data.language": "en"})


def surveyed(cache: Path, overrides: dict[str, object]) -> tuple[Settings, Survey, Report]:
    settings = load(None, {"study.name": "check", **overrides})
    survey = make_survey(settings, cache, lambda _: None)
    return settings, survey, judge(settings, survey, look(settings, cache))


def named(report: Report, defect: Planted) -> bool:
    """Whether a finding of the level or a worse one says it of the file."""
    levels = {"info": ("error", "warning", "info"), "warning": ("error", "warning"), "error": ("error",)}[defect.level]
    return any(
        any(words in f"{finding.message} {detail}" for words in defect.said.split("|"))
        for finding in report.findings
        if finding.level in levels
        for file, detail in finding.files
        if file.endswith(f"/{defect.file}")
    )


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.kind)
def test_every_defect_is_named_with_its_file(bad: tuple[Settings, Survey, Report], defect: Planted) -> None:
    assert named(bad[2], defect)


def test_sound_clips_are_not_called_bad(bad: tuple[Settings, Survey, Report]) -> None:
    """Those named beside a bad one as its twin stand in the detail, and not as the file."""
    _, survey, report = bad
    files = [file for finding in report.findings for file, _ in finding.files]
    assert [file for file in files if "good_" in Path(file).name] == []
    for name in (bad_data.ETHIOPIC, bad_data.HOSTILE):
        assert [row.reason for row in survey.rows if row.audio_file.endswith(name)] == [None]
        assert [file for file in files if file.endswith(name)] == []
    assert sum(row.part == "eval" for row in survey.rows) == 9  # of a table with a byte order mark and CRLF


def stock_keeps(settings: Settings, survey: Survey, part: str) -> Counter[tuple[str, str]]:
    """The (file, text) that coqui's dataset trains on or evaluates, by its own class, tokenizer and limits."""
    directory, data = Path(survey.base.directory), settings.data
    config = base.training_config(
        directory, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens
    )
    samples = [
        {
            "audio_file": row.audio_file,
            "text": None if row.reason == "no text in the table" else row.text,
            "language": row.language,
            "speaker_name": row.speaker,
        }
        for row in survey.part(part, used=False)
        if not is_endless(Path(row.audio_file))  # which it would read for ever
    ]
    tokenizer = VoiceBpeTokenizer(directory / "vocab.json")
    logging.disable(logging.ERROR)
    try:
        dataset = XTTSDataset(config, list(samples), tokenizer, config.audio.sample_rate, part == "eval")
        kept = dataset.samples if part == "eval" else filter(lambda sample: _trains_on(dataset, sample), samples)
        return Counter((sample["audio_file"], sample["text"] or "") for sample in kept)
    finally:
        logging.disable(logging.NOTSET)


def _trains_on(dataset: XTTSDataset, sample: dict[str, str]) -> bool:
    """As `XTTSDataset.__getitem__`, which draws clips by chance: no error, and within both limits."""
    try:
        text, _, wav, *_ = dataset.load_item(sample)
    except Exception:  # stock catches all
        return False
    return not (wav.shape[-1] > dataset.max_wav_len or text.shape[0] > dataset.max_text_len)


def keys(rows: Iterable[Row]) -> Counter[tuple[str, str]]:
    return Counter((row.audio_file, row.text) for row in rows)


@pytest.mark.parametrize("part", PARTS)
def test_stock_drops_what_is_said_of_it(bad: tuple[Settings, Survey, Report], part: str) -> None:
    settings, survey, report = bad
    rows = survey.part(part, used=False)
    kept = stock_keeps(settings, survey, part)
    assert keys(row for row in rows if not row.stock) == kept
    said = {(d.audio_file, d.text) for d in report.dropped if d.stock and d.part == part}
    assert said == {(row.audio_file, row.text) for row in rows} - set(kept)
    assert kept and said


def spoil(folder: Path, file: str, key: str, value: float) -> None:
    """Sets one weight of a base, or all for a value that is finite."""
    state = torch.load(folder / file, weights_only=True)
    weights = {"model.pth": lambda: state["model"], "dvae.pth": lambda: state}.get(file, lambda: {key: state})()
    weights[key] = weights[key].clone()
    weights[key].view(-1)[slice(1 if not math.isfinite(value) else None)] = value
    torch.save(state if file != "mel_stats.pth" else weights[key], folder / file)


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        (
            "model.pth",
            "gpt.gpt.h.1.mlp.c_fc.weight",
            math.nan,
            "model.pth: gpt.gpt.h.1.mlp.c_fc.weight is not finite",
        ),
        (
            "dvae.pth",
            "codebook.embed",
            math.inf,
            "dvae.pth: codebook.embed is not finite .NaN or infinite. in 1 of its 131,072 values",
        ),
        ("mel_stats.pth", "", 0.0, "mel_stats.pth is not 80 positive numbers"),
        ("model.pth", "gpt.mel_head.weight", 3e38, "its loss before any training is"),
    ],
)
def test_a_base_that_is_not_finite_is_refused_before_any_trial(
    cache: Path, miniature: Path, tmp_path: Path, file: str, key: str, value: float, said: str
) -> None:
    shutil.copytree(miniature, tmp_path / "base")
    spoil(tmp_path / "base", file, key, value)
    given = {"base.path": str(tmp_path / "base"), "training.accumulation": 1, "data.min_conditioning_seconds": 0.5}
    settings, survey, report = surveyed(cache, {**given, "data.max_conditioning_seconds": 1.0})
    if survey.base.error is None:  # all weights are numbers: a check and a search find it by a loss
        with pytest.raises(UserError, match=said):
            refuse_base(settings, survey)
        with pytest.raises(UserError, match=said):
            prepare(settings, cache, lambda _: None)
    else:
        with pytest.raises(UserError, match=said):
            refuse(report)
