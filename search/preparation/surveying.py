"""Reads data and base: decodes the audio into the machine's cache, tokenises the texts, reads the base's shape."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from search.check.survey import PARTS, BaseFacts, Row, Survey
from search.errors import UserError
from search.preparation import cache as machine_cache
from search.preparation import recordings, tables
from search.preparation.parallel import on_all_cores
from search.preparation.places import locate
from search.preparation.recordings import Recordings
from search.preparation.tables import Rows, reason
from search.settings.sections import Data
from search.settings.settings import Settings
from search.training import base
from search.training.tokenizer import (
    LISTED,
    STOP_ID,
    UNKNOWN_ID,
    Tokenizer,
    extended_vocabulary,
    missing_tokens,
    preprocessed,
)

_BYTES_PER_SAMPLE = 4

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Sources:
    """What a study is prepared from."""

    root: Path  # of the corpus
    base: Path
    rows: Rows
    recordings: Recordings


def encoded(row: Mapping[str, Any], data: Data, tokenizer: VoiceBpeTokenizer) -> tuple[list[int], str | None]:
    """The tokens of a row's text, and why training cannot use it: the stock dataset's rules."""
    if row["text"] is None:
        return [], "no text in the table"  # stock trains on the word "None"
    text = str(row["text"])
    if not text.strip():
        return [], "empty text"
    try:
        tokens: list[int] = tokenizer.encode(text, row["language"])
    except UserError:
        raise
    except Exception as error:  # a language without rules, or rules that fail on a text; stock drops either
        return [], f"the text cannot be tokenised: {reason(error)}"
    if UNKNOWN_ID in tokens:
        return tokens, "a letter that the vocabulary lacks"
    if STOP_ID in tokens:
        return tokens, "the text holds [STOP]"
    if len(tokens) > data.max_text_tokens:
        return tokens, f"{len(tokens)} text tokens, more than data.max_text_tokens {data.max_text_tokens}"
    return tokens, None


def read_sources(settings: Settings, cache: Path, progress: Progress) -> Sources:
    """Rows, and their audio decoded. Raises UserError for a table without clips, or a base that cannot be read."""
    root, directory = locate(settings, cache, progress)
    rows = tables.read_rows(settings.data, root, settings.study.seed)
    return Sources(root, directory, rows, _decoded(settings, rows, sample_rate(directory), cache, progress))


def _decoded(settings: Settings, rows: Rows, rate: int, cache: Path, progress: Progress) -> Recordings:
    """The recordings of `rows`, decoded into the cache unless they are there."""
    paths = [row["audio_file"] for part in rows.parts for row in part]
    progress(f"reading {len(paths)} clips")
    known = recordings.digests(paths)
    longest = settings.data.max_audio_seconds
    target = cache / f"recordings-{recordings.store_key(known, rate, longest)}"
    count = Count(progress, "decoding audio", "clips")

    def build(folder: Path) -> None:
        needed = _BYTES_PER_SAMPLE * rate * recordings.expected_seconds(known, longest)
        limit = settings.service.cache_gb * 1e9
        machine_cache.make_room(cache, limit, needed, f"the decoded audio of {settings.data.path}")
        recordings.write(known, rate, longest, folder, count)
        (folder / "about.txt").write_text(str(settings.data.path), encoding="utf-8")

    machine_cache.make_once(target, build, lambda: progress("waiting for another search, which decodes the same audio"))
    return recordings.read(known, target)


def make_survey(settings: Settings, cache: Path, progress: Progress) -> Survey:
    """The facts about data and base. Raises UserError as `read_sources` does."""
    sources = read_sources(settings, cache, progress)
    progress("reading texts and base")
    return survey_of(settings, sources)


def survey_of(settings: Settings, sources: Sources) -> Survey:
    """As `make_survey`, of what was read."""
    data, rows, directory, found = settings.data, sources.rows, sources.base, sources.recordings.found
    facts = base_facts(settings, directory)
    own = Tokenizer(directory / "vocab.json")
    stock = VoiceBpeTokenizer(directory / "vocab.json")
    flat = [(part, row) for part, part_rows in zip(PARTS, rows.parts, strict=True) for row in part_rows]
    missing = missing_tokens(own, texts_of(rows), data.language)
    has_tag = not (missing and len(missing[0]) > 1)
    letters = set(missing[1 - has_tag :])
    trained = own
    if missing and settings.base.extend_vocabulary:
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(extended_vocabulary(directory / "vocab.json", missing))
            file.flush()
            trained = Tokenizer(file.name)

    def describe(item: tuple[str, Mapping[str, Any]]) -> Row:
        part, row = item
        audio = recordings.usable(found[row["audio_file"]], data.max_audio_seconds)
        tokens, ours = encoded(row, data, trained)
        _, theirs = encoded(row if row["text"] is not None else {**row, "text": "None"}, data, stock)
        unknown = sorted(letters & set(preprocessed(own, str(row["text"]), row["language"]) or ""))
        return Row(
            part,
            row["audio_file"],
            str(row["text"] or ""),
            str(row["speaker_name"]),
            row["language"],
            len(tokens),
            unknown,
            ours or audio,
            theirs or (None if audio == recordings.NOT_FINITE else audio),
        )

    return Survey(
        sample_rate=sample_rate(directory),
        rows=list(on_all_cores(describe, flat)),
        recordings=found,
        absent=rows.absent,
        table_remarks=rows.remarks,
        missing=missing,
        base=replace(facts, language_tag=has_tag),
    )


def texts_of(rows: Rows) -> list[str]:
    return [str(row["text"]) for part in rows.parts for row in part if row["text"] is not None]


def sample_rate(directory: Path) -> int:
    """Hz, of the base in `directory`. Raises UserError for a base with files that are none."""
    base.refuse_broken(directory)
    return base.training_config(directory, (3.0, 6.0), 11.6, 200).audio.sample_rate  # type: ignore[no-any-return]


def base_facts(settings: Settings, directory: Path) -> BaseFacts:
    """The base as it is: what does not fit is in `error`."""
    error = None
    try:
        base.check(directory)
        base.check_limits(settings, directory)
    except UserError as refused:
        error = str(refused)
    tokenizer = Tokenizer(directory / "vocab.json")
    config = base.training_config(directory, settings.conditioning_seconds, 11.6, 200)
    seconds, tokens = base.limits(config)
    try:
        shapes = {k: v.shape for k, v in base.read_weights(directory).items()}
    except UserError:
        shapes = {}
    gpt = {k: v.numel() for k, v in shapes.items() if k.startswith("gpt.") and not k.startswith("gpt.gpt_inference.")}
    args = config.model_args
    return BaseFacts(
        directory=str(directory),
        error=error,
        tokens=tokenizer.get_number_tokens(),
        rows=shapes["gpt.text_embedding.weight"][0] if "gpt.text_embedding.weight" in shapes else 0,
        start=tokenizer.tokenizer.token_to_id("[START]"),
        stop=tokenizer.tokenizer.token_to_id("[STOP]"),
        languages=tuple(map(str, base.config_values(directory).get("languages", []))),
        language_listed=settings.data.language.split("-")[0] in LISTED,
        max_audio_seconds=seconds,
        max_text_tokens=tokens,
        parameters=sum(gpt.values()),
        total_parameters=sum(v.numel() for v in shapes.values()),
        layers=args.gpt_layers,
        width=args.gpt_n_model_channels,
        heads=args.gpt_n_heads,
        audio_tokens=args.gpt_num_audio_tokens,
        code_samples=args.gpt_code_stride_len,
    )


class Count:
    """Tells the progress of a long task: every two seconds and at its end, with the time left once that is known."""

    def __init__(self, say: Progress, doing: str, what: str) -> None:
        self._say, self._doing, self._what = say, doing, what
        self._started = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told < 2 and done < total:
            return
        self._told = now
        spent = now - self._started
        left = f", {(total - done) * spent / done:.0f} s left" if spent > 5 and total / 10 < done < total else ""
        self._say(f"{self._doing}: {done} of {total} {self._what}{left}")
