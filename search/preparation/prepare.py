"""Preparation: all that is the same in every trial, checked first, and made once per machine."""

import hashlib
import importlib.metadata
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from search.check.judging import judge, refuse
from search.check.machine import look
from search.check.resources import cache_bytes
from search.check.survey import PARTS
from search.files import write_text
from search.preparation import base_check, encoding, extension, parentage, tables
from search.preparation import cache as machine_cache
from search.preparation.places import Progress
from search.preparation.recordings import file_digest
from search.preparation.surveying import Sources, counting, read_sources, survey_of
from search.settings.sections import Data
from search.settings.settings import Settings
from search.sources import digest
from search.study.clips import pack
from search.training import base, corpus
from search.training.evaluation import Evaluator, evaluation_sets, write_sets
from search.training.numerics import refuse_unavailable
from search.training.run import seed_everything
from search.trial import Caller, Prepared

# The code that makes the prepared files, with its imports. Without this module, which imports the checks.
_CODE = (
    "search.preparation.encoding",
    "search.preparation.extension",
    "search.preparation.tables",
    "search.training.evaluation",
)


def run(caller: Caller, settings: str, cache: str) -> dict[str, Any]:
    """`prepare` in a process of its own, which says "progress"."""
    given = Settings.model_validate_json(settings)
    return asdict(prepare(given, Path(cache), lambda text: caller.say("progress", text=text)))


def prepare(settings: Settings, cache: Path, progress: Progress) -> Prepared:
    """Checks data, base and machine, and prepares what is the same in all runs in a folder of `cache`, unless it is
    there already.

    Raises UserError, also for everything that `study.py check` calls an error.
    """
    refuse_unavailable(settings.training)
    sources = read_sources(settings, cache, progress)
    digests = {path: recording.digest for path, recording in sources.recordings.found.items()}
    data_fingerprint = encoding.fingerprint(sources.rows.parts, sources.data, digests)
    fingerprints = data_fingerprint, fingerprint_base(sources.base)
    target = cache / f"prepared-{key_of(settings, sources, fingerprints, cache)}"

    progress("checking data and base")
    survey = survey_of(settings, sources)
    machine, needed = look(settings, cache), cache_bytes(survey, settings.data.probe_clips)
    if target.exists():  # it needs no more space
        machine = replace(machine, cache_free=machine.cache_free + needed)
    report = judge(settings, survey, machine)
    refuse(report)

    def build(folder: Path) -> None:
        limit = settings.service.cache_gb * 1e9
        machine_cache.make_room(cache, limit, needed, f"what a study of {settings.data.path} prepares")
        made = _prepare_into(settings, sources, fingerprints, folder, target, progress)
        write_text(folder / "about.txt", f"{settings.data.path} on {settings.base.path}")
        write_text(folder / "prepared.json", made.to_json())

    with machine_cache.in_use(sources.recordings.waveforms.parent):  # until `target` has the audio under a second name
        machine_cache.make_once(
            target, build, lambda: progress("waiting for another search, which prepares the same study")
        )
    made = Prepared.from_json((target / "prepared.json").read_text(encoding="utf-8"))
    # The warnings of this start: settings that do not change the prepared files may have changed.
    return replace(made, warnings=[f"{found.message}; {found.next_step}" for found in report.of("warning")])


def key_of(settings: Settings, sources: Sources, fingerprints: tuple[str, str], cache: Path) -> str:
    """The files contain paths in `cache`: after the cache has moved, they are prepared again."""
    paths = [row["audio_file"] for part in sources.rows.parts for row in part]
    parts = (
        *fingerprints, settings.conditioning_seconds, settings.base.extend_vocabulary, settings.study.seed,
        settings.training.eval_batch_size, paths, str(sources.base), str(cache), versions(), digest(*_CODE),
        *_tables(settings, sources.root),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _tables(settings: Settings, root: Path) -> list[str]:
    """What coqui's own trainer would read depends on the form of the tables, too."""
    data = settings.data
    return [data.formatter, *(f"{name} {file_digest(root / name).hex()}" for name in (data.train, data.eval or ""))]


def _prepare_into(
    settings: Settings,
    sources: Sources,
    fingerprints: tuple[str, str],
    folder: Path,
    target: Path,
    progress: Progress,
) -> Prepared:
    """Fills `folder`, which becomes `target`."""
    data, directory, missing, seed = sources.data, sources.base, sources.missing, settings.study.seed
    new_rows = parentage.new_rows(directory)
    if missing:
        progress(f"extending the vocabulary by {len(missing)} tokens")
        new_rows = extension.extend(directory, missing, data.language, seed, folder / "base")
    building_base, final = (folder / "base", target / "base") if missing else (directory, directory)
    config = base_check.config_for(settings, building_base)
    seed_everything(seed)
    model = base.load_model(config)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    count = counting(progress, "computing audio codes")
    dropped = encoding.prepare(sources.rows.parts, sources.recordings, model, folder / "corpus", count)
    clips = corpus.load(folder / "corpus")
    progress("evaluating the untouched base model")
    sets = evaluation_sets(model, clips, data.probe_clips, seed, settings.training.eval_batch_size)
    write_sets(sets, folder, settings.training.eval_batch_size)
    untouched = Evaluator(model, sets)(0, time.monotonic())
    base_check.refuse_loss(directory, untouched.mel_ce, untouched.text_ce)
    rate = config.audio.sample_rate
    final_config = base_check.config_for(settings, building_base).to_dict()
    for name in ("tokenizer_file", "mel_norm_file", "dvae_checkpoint", "xtts_checkpoint"):
        final_config["model_args"][name] = str(final / Path(final_config["model_args"][name]).name)
    final_config["datasets"] = [tables.for_coqui(sources.rows, data, sources.root, folder, target).to_dict()]
    final_config["languages"] = sorted({*final_config["languages"], data.language})
    return Prepared(
        directory=str(target),
        seed=seed,
        train_clips=len(clips.train),
        eval_clips=len(clips.eval),
        probe_clips=min(data.probe_clips, len(clips.train)),
        train_seconds=sum(c.samples for c in clips.train) / rate,
        eval_seconds=sum(c.samples for c in clips.eval) / rate,
        dropped=dropped,
        added_tokens=missing,
        vocabulary_size=model.xtts.tokenizer.get_number_tokens(),
        base_evaluation=asdict(untouched),
        coqui_config=final_config,
        data_fingerprint=fingerprints[0],
        base_fingerprint=fingerprints[1],
        versions=versions(),
        new_rows=new_rows,
        clips=_packed(sources, data),
    )


def _packed(sources: Sources, data: Data) -> str:
    """What `encoding.fingerprint` is of, clip by clip."""
    found, limits = sources.recordings.found, {"language", "max_audio_seconds", "max_text_tokens", "probe_clips"}
    clips = (
        (os.path.relpath(row["audio_file"], sources.root), part, str(row["text"]), str(row["speaker_name"]),
         found[row["audio_file"]].digest)
        for part, rows in zip(PARTS, sources.rows.parts, strict=True)
        for row in rows
    )  # fmt: skip
    return pack(clips, data.model_dump(include=limits))


def fingerprint_base(directory: Path) -> str:
    """SHA-256 over the base's files, by name."""
    digest = hashlib.sha256()
    for name in base.FILES:
        digest.update(name.encode() + file_digest(directory / name))
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of the libraries that a run's results depend on."""
    names = ("torch", "torchaudio", "coqui-tts", "coqui-tts-trainer", "transformers", "tokenizers", "numpy", "optuna")
    return {"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in names}}
