"""Reads data and base: decodes the audio into the machine's cache, tokenises the texts, reads the base's shape."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from search.check.memory import Model
from search.check.survey import PARTS, BaseFacts, Recording, Row, Survey
from search.errors import UserError, first_line
from search.preparation import base_check, recordings, tables
from search.preparation import cache as machine_cache
from search.preparation.coqui_tables import Rows
from search.preparation.parallel import on_all_cores
from search.preparation.places import Progress, locate
from search.preparation.recordings import Recordings
from search.settings.languages import resolved
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
    tagged_languages,
)

_BYTES_PER_SAMPLE = 4

Parts = tuple[Sequence[tables.Row], Sequence[tables.Row]]  # of training and evaluation


@dataclass(frozen=True)
class Sources:
    """What a study is prepared from."""

    root: Path  # of the corpus
    base: Path
    rows: Rows
    recordings: Recordings
    data: Data  # as given, but for the language, which is as the base calls it
    missing: list[str]  # tokens that the base's vocabulary lacks
    tokenizer: Tokenizer  # that training would use


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
        return [], f"the text cannot be tokenised: {first_line(error)}"
    if UNKNOWN_ID in tokens:
        return tokens, "a letter that the vocabulary lacks"
    if STOP_ID in tokens:
        return tokens, "the text holds [STOP]"
    if len(tokens) > data.max_text_tokens:
        return tokens, f"more than data.max_text_tokens {data.max_text_tokens}: {len(tokens)} text tokens"
    return tokens, None


def encode(parts: Parts, data: Data, tokenizer: VoiceBpeTokenizer, found: Mapping[str, Recording]) -> None:
    """Adds to each row its tokens, and why training cannot use the clip."""
    rows = [row for part in parts for row in part]
    made = on_all_cores(lambda row: encoded(row, data, tokenizer), rows)
    for row, (tokens, fault) in zip(rows, made, strict=True):
        audio = recordings.usable(found[row["audio_file"]], data.max_audio_seconds)
        row |= {"tokens": tokens, "fault": row.get("fault") or fault or audio}


def read_sources(settings: Settings, cache: Path, progress: Progress) -> Sources:
    """Rows, and their audio decoded. Raises UserError for a table without clips, or a base that cannot be read."""
    data = settings.data
    root, directory = locate(settings, cache, progress)
    data = in_the_bases_words(settings.data, directory)
    if data.language != settings.data.language:
        progress(f"data.language {settings.data.language!r} is trained as {data.language!r}")
    rows = tables.read(data, root)
    for sentence in rows.assumed:
        progress(sentence)
    found = decoded(settings, rows, sample_rate(directory), cache, progress)
    missing, tokenizer = _tokenizer(settings, data.language, directory, rows)
    encode(rows.parts, data, tokenizer, found.found)
    rows = tables.hold_out(rows, data, settings.study.seed)
    return Sources(root, directory, rows, found, data, missing, tokenizer)


def in_the_bases_words(data: Data, directory: Path) -> Data:
    """`data` with the code that the base in `directory` has for its language, or today's code of a new language."""
    known = {*map(str, base.config_values(directory).get("languages", [])), *tagged_languages(directory / "vocab.json")}
    return data.model_copy(update={"language": resolved(data.language, known)})


def _tokenizer(settings: Settings, language: str, directory: Path, rows: Rows) -> tuple[list[str], Tokenizer]:
    """What the base's vocabulary lacks, and the tokenizer that training would use."""
    own = Tokenizer(directory / "vocab.json")
    there = [row for part in rows.parts for row in part if not row["fault"]]
    texts = [str(row["text"]) for row in there if row["text"] is not None]
    missing = missing_tokens(own, texts, language)
    if not (missing and settings.base.extend_vocabulary):
        return missing, own
    return missing, Tokenizer.of(extended_vocabulary(directory / "vocab.json", missing))


def decoded(settings: Settings, rows: Rows, rate: int, cache: Path, progress: Progress) -> Recordings:
    """The recordings of `rows`, decoded into the cache unless they are there."""
    paths = [row["audio_file"] for part in rows.parts for row in part]
    progress(f"reading {len(paths)} clips")
    known = recordings.digests(paths)
    longest = settings.data.max_audio_seconds
    target = cache / f"recordings-{recordings.store_key(known, rate, longest)}"
    count = counting(progress, "decoding audio")

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
    data, rows, directory, found = sources.data, sources.rows, sources.base, sources.recordings.found
    own = Tokenizer(directory / "vocab.json")
    stock = VoiceBpeTokenizer(directory / "vocab.json")
    flat = [(part, row) for part, part_rows in zip(PARTS, rows.parts, strict=True) for row in part_rows]
    letters = {token for token in sources.missing if len(token) == 1}

    def describe(item: tuple[str, Mapping[str, Any]]) -> Row:
        part, row = item
        file, text, language = row["audio_file"], row["text"], row["language"]
        audio = recordings.usable(found[file], data.max_audio_seconds)
        _, theirs = encoded(row if text is not None else {**row, "text": "None"}, data, stock)
        theirs = theirs or (None if audio == recordings.NOT_FINITE else audio)
        unknown = sorted(letters & set(preprocessed(own, str(text), language) or ""))
        speaker, tokens = str(row["speaker_name"]), len(row["tokens"])
        return Row(part, file, str(text or ""), speaker, language, tokens, unknown, row["fault"], theirs)

    described, facts = list(on_all_cores(describe, flat)), base_facts(settings, sources)
    return Survey(sample_rate(directory), described, found, rows.remarks, rows.assumed, sources.missing, facts)


def sample_rate(directory: Path) -> int:
    """Hz, of the base in `directory`. Raises UserError for a base with files that are none."""
    base_check.refuse_broken(directory)
    return base.training_config(directory).audio.sample_rate  # type: ignore[no-any-return]


def base_facts(settings: Settings, sources: Sources) -> BaseFacts:
    """The base as it is: what does not fit is in `error`."""
    directory, language = sources.base, sources.data.language
    error, shapes = None, {}
    try:
        base_check.check(directory)
        base_check.check_limits(settings, directory)
        shapes = {k: v.shape for k, v in base.read_weights(directory / "model.pth").items()}
    except UserError as refused:
        error = str(refused)
    config = base.training_config(directory)
    seconds, tokens = base.limits(config)
    of_gpt = [v.numel() for k, v in shapes.items() if k.startswith("gpt.") and not k.startswith("gpt.gpt_inference.")]
    rows, args = shapes.get("gpt.text_embedding.weight", [0])[0], config.model_args
    width, audio_tokens = args.gpt_n_model_channels, args.gpt_num_audio_tokens
    return BaseFacts(
        directory=str(directory),
        error=error,
        languages=tuple(map(str, base.config_values(directory).get("languages", []))),
        language=language,
        language_tag=all(len(token) == 1 for token in sources.missing),
        language_listed=language.split("-")[0] in LISTED,
        max_audio_seconds=seconds,
        max_text_tokens=tokens,
        gpt=Model(args.gpt_layers, width, args.gpt_n_heads, rows, audio_tokens, sum(of_gpt)),
        total_parameters=sum(v.numel() for v in shapes.values()),
        code_samples=args.gpt_code_stride_len,
    )


def counting(say: Progress, doing: str) -> Callable[[int, int], None]:
    """Tells the progress of a long task: every two seconds and at its end, with the time left once that is known."""
    started = told = time.monotonic()

    def count(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < 2 and done < total:
            return
        told, spent = now, now - started
        left = f", {(total - done) * spent / done:.0f} s left" if spent > 5 and total / 10 < done < total else ""
        say(f"{doing}: {done} of {total} clips{left}")

    return count
