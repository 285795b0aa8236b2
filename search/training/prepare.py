"""Preparation: all that is the same in every trial of a study, made once a machine and checked before any starts."""

import hashlib
import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from search.atomic import write_text
from search.errors import UserError
from search.sections import MINIATURE
from search.settings import Settings
from search.training import base, corpus
from search.training.evaluation import Evaluator
from search.training.run import seed_everything
from search.training.tokenizer import Tokenizer, missing_tokens
from search.trial import Prepared

Progress = Callable[[str], None]


def prepare(settings: Settings, cache: Path, progress: Progress) -> Prepared:
    """Checks data and base, and writes corpus and extended base into a folder of `cache` named by their contents.

    Folders appear whole or not at all, so that two supervisors may prepare at once. Raises UserError.
    """
    if settings.training.precision == "tf32" and not torch.cuda.is_available():
        raise UserError("training.precision is 'tf32', which acts on CUDA GPUs only, and none is visible; use fp32")
    root, directory = locate(settings, cache, progress)
    with missing_files() as missing:
        samples = corpus.read_samples(settings.data, root, settings.study.seed)
    progress(f"reading {sum(map(len, samples))} clips of {root}")
    data_fingerprint = corpus.fingerprint(samples, settings.data)
    base_fingerprint = fingerprint_base(directory)
    key = hashlib.sha256(
        repr(
            (data_fingerprint, base_fingerprint, settings.conditioning_seconds, settings.base.extend_vocabulary,
             settings.study.seed, settings.training.eval_batch_size, corpus_paths(samples), str(directory), versions(),
             code_digest())
        ).encode()
    ).hexdigest()[:16]  # fmt: skip
    target = cache / f"prepared-{key}"
    if not (target / "prepared.json").exists():
        base.check(directory)
        check_limits(settings, directory)
        with building(target) as folder:
            made = _prepare_into(
                settings, samples, root, directory, folder, target, data_fingerprint, base_fingerprint, progress
            )
            made.dropped.extend([data_table(settings), line] for line in missing)
            torch.save({}, folder / "nothing.pth")  # see `base.load_trainee`
            write_text(folder / "prepared.json", made.to_json())
    return Prepared.from_json((target / "prepared.json").read_text(encoding="utf-8"))


def data_table(settings: Settings) -> str:
    """Where the rows come from, for a report."""
    return " and ".join(filter(None, (settings.data.train, settings.data.eval)))


def corpus_paths(samples: tuple[list[dict], list[dict]]) -> list[str]:
    return [row["audio_file"] for part in samples for row in part]


@contextmanager
def missing_files() -> Iterator[list[str]]:
    """Collects what coqui's formatters only warn of: "5 files not found", rows of the table without their audio."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("TTS.tts.datasets.formatters")
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def check_limits(settings: Settings, directory: Path) -> None:
    """Raises UserError for lengths that the base has no positions for."""
    data = settings.data
    config = base.training_config(
        directory, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens
    )
    seconds, tokens = base.limits(config)
    if data.max_audio_seconds > seconds:
        raise UserError(
            f"data.max_audio_seconds is {data.max_audio_seconds}; the base has positions for {seconds:.1f} s: lower it"
        )
    if data.max_text_tokens > tokens:
        raise UserError(
            f"data.max_text_tokens is {data.max_text_tokens}; the base has positions for {tokens}: lower it"
        )


def _prepare_into(
    settings: Settings,
    samples: tuple[list[dict], list[dict]],
    root: Path,
    directory: Path,
    folder: Path,
    target: Path,
    data_fingerprint: str,
    base_fingerprint: str,
    progress: Progress,
) -> Prepared:
    data = settings.data
    texts = [str(row["text"]) for part in samples for row in part]
    missing = missing_tokens(Tokenizer(directory / "vocab.json"), texts, data.language)
    if missing and not settings.base.extend_vocabulary:
        raise UserError(
            f"base.path {directory}: its vocabulary lacks {' '.join(missing[:20])}{' …' if len(missing) > 20 else ''}"
            f" ({len(missing)} in all), and base.extend_vocabulary is off; turn it on, or extend the base"
        )
    if missing:
        progress(f"extending the vocabulary by {len(missing)} tokens")
        base.extend(directory, missing, data.language, settings.study.seed, folder / "base")
    building_base, final = (folder / "base", target / "base") if missing else (directory, directory)
    config = base.training_config(
        building_base, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens
    )
    seed_everything(settings.study.seed)
    model = base.load_model(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    (folder / "corpus").mkdir()
    told = [time.monotonic()]

    def count(done: int, total: int) -> None:
        if time.monotonic() - told[0] > 2 or done == total:
            told[0] = time.monotonic()
            progress(f"computing audio codes: {done} of {total} clips")

    dropped = corpus.prepare(data, samples, model, model.xtts.tokenizer, folder / "corpus", count)
    clips = corpus.load(folder / "corpus")
    progress("evaluating the untouched base model")
    evaluator = Evaluator(model, clips, data.probe_clips, settings.study.seed, settings.training.eval_batch_size)
    untouched = evaluator(0, time.monotonic())
    rate = config.audio.sample_rate
    final_config = base.training_config(
        building_base, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens
    ).to_dict()
    for name in ("tokenizer_file", "mel_norm_file", "dvae_checkpoint", "xtts_checkpoint"):
        final_config["model_args"][name] = str(final / Path(final_config["model_args"][name]).name)
    final_config["datasets"] = [corpus.dataset_config(data, root, data.train, data.eval or "").to_dict()]
    final_config["languages"] = sorted({*final_config["languages"], data.language})
    return Prepared(
        directory=str(target),
        seed=settings.study.seed,
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
        data_fingerprint=data_fingerprint,
        base_fingerprint=base_fingerprint,
        versions=versions(),
    )


def locate(settings: Settings, cache: Path, progress: Progress) -> tuple[Path, Path]:
    """(corpus root, base directory), the miniature's made on first use."""
    root, directory = settings.data.path, settings.base.path
    if root == MINIATURE:
        root = cache / f"miniature-speech-{_source_digest('speech.py', 'texts.py')}"
        if not root.exists():
            progress("generating the miniature's Amharic speech")
            with building(root) as folder:
                # A fresh process: the synthesiser keeps state, and its output must not depend on what came before.
                subprocess.run([sys.executable, "-m", "search.miniature.speech", "amharic", str(folder)], check=True)
    if directory == MINIATURE:
        directory = cache / f"miniature-base-{_source_digest('base.py', 'weights.npz')}"
        if not directory.exists():
            from search.miniature.base import write_base

            progress("writing the miniature base model")
            with building(directory) as folder:
                write_base(folder)
    return Path(root), Path(directory)


def _source_digest(*names: str) -> str:
    """Names the generated files by what makes them."""
    folder = Path(__file__).parent.parent / "miniature"
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:12]


class building:
    """A temporary folder beside `target` that takes its name on success. Losing a race to a twin is success, too."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Path:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        for left in self.target.parent.glob(".*-*.*"):  # by a process that was killed
            if left.is_dir() and time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(dir=self.target.parent, prefix=f".{self.target.name}."))
        return self.folder

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                os.chmod(self.folder, 0o755)  # others may share the cache; mkdtemp made it private
                os.rename(self.folder, self.target)
        except OSError:
            if not self.target.exists():
                raise
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def fingerprint_base(directory: Path) -> str:
    """SHA-256 over the base's files, by name."""
    digest = hashlib.sha256()
    for name in base.FILES:
        digest.update(name.encode() + corpus.file_digest(directory / name))
    return digest.hexdigest()[:16]


def code_digest() -> str:
    """Of the sources that write the prepared files."""
    names = ("base.py", "batches.py", "corpus.py", "evaluation.py", "prepare.py", "tokenizer.py")
    return hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in names)).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of the libraries that a run's numbers depend on."""
    names = ("torch", "torchaudio", "coqui-tts", "coqui-tts-trainer", "transformers", "tokenizers", "numpy", "optuna")
    return {"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in names}}
