"""The clips of a study, prepared once for all trials, because no searched hyperparameter changes them.

They consist of waveforms, tokens and the DVAE's codes. Codes are made clip by clip. coqui makes them from the padded
batch: the padding affects the last few codes of the shorter clips, and the evaluation depends on the batch size
(docs/parity.md).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

from search.check.survey import PARTS
from search.errors import UserError
from search.files import link
from search.preparation.parallel import on_all_cores
from search.preparation.recordings import Recordings
from search.preparation.surveying import Parts
from search.preparation.tables import Row
from search.settings.sections import Data
from search.training.corpus import Clip
from search.training.numerics import without_tf32


def prepare(
    parts: Parts, decoded: Recordings, model: GPTTrainer, target: Path, progress: Callable[[int, int], None]
) -> list[list[str]]:
    """Writes the corpus of (training, evaluation) rows, with their tokens and recordings, into the new folder `target`.

    Returns [file, reason] of each clip that is left out. Raises UserError if none is left for training or evaluation.
    """
    target.mkdir()
    link(decoded.waveforms, target / decoded.waveforms.name)
    dropped = [[row["audio_file"], row["fault"]] for part in parts for row in part if row["fault"]]
    kept = {name: [row for row in part if not row["fault"]] for name, part in zip(PARTS, parts, strict=True)}
    for (name, clips), rows in zip(kept.items(), parts, strict=True):
        if not clips:
            first = f"; the first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
            raise UserError(f"data: no clip of {len(rows)} is left for the {name} set{first}")
    _write(kept, decoded, model, target, progress)
    return dropped


def _write(
    kept: Mapping[str, list[Row]],
    decoded: Recordings,
    model: GPTTrainer,
    target: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Writes clips.json and the arrays. A recording of several rows is encoded once."""
    waveforms = np.memmap(decoded.waveforms, np.float32, mode="r")

    def make(file: str) -> np.ndarray:
        found = decoded.found[file]
        wav = np.array(waveforms[found.first_sample : found.first_sample + found.samples])
        return clip_codes(model, torch.from_numpy(wav)[None]).to(torch.int32).numpy()

    files = list(dict.fromkeys(row["audio_file"] for rows in kept.values() for row in rows))
    on_cpu = next(model.dvae.parameters()).device.type == "cpu"
    place: dict[str, tuple[int, int]] = {}
    first_code = first_token = 0
    with open(target / "codes.i32", "wb") as codes, open(target / "tokens.i32", "wb") as tokens:
        made = on_all_cores(make, files) if on_cpu else map(make, files)
        for done, (file, values) in enumerate(zip(files, made, strict=True), 1):
            codes.write(np.ascontiguousarray(values).data)
            place[file] = first_code, len(values)
            first_code += len(values)
            progress(done, len(files))
        clips: dict[str, list[dict[str, Any]]] = {part: [] for part in kept}
        for part, row in ((part, row) for part, rows in kept.items() for row in rows):
            tokens.write(np.array(row["tokens"], np.int32).data)
            found = decoded.found[row["audio_file"]]
            clip = Clip(
                found.path, str(row["text"]), str(row["speaker_name"]), row["language"], first_token,
                len(row["tokens"]), found.first_sample, found.samples, *place[found.path],
            )  # fmt: skip
            first_token += clip.tokens
            clips[part].append(asdict(clip))
    (target / "clips.json").write_text(json.dumps(clips, ensure_ascii=False), encoding="utf-8")


@torch.no_grad()
def clip_codes(model: GPTTrainer, wav: torch.Tensor) -> torch.Tensor:
    """DVAE codes (codes,) of one clip (1, samples): stock's computation on a batch of one clip, so without padding."""
    device = next(model.dvae.parameters()).device
    batch = {
        "text_lengths": None, "wav_lengths": None, "padded_text": None, "cond_idxs": None,
        "conditioning": torch.zeros(1, 1, 1, model.args.min_conditioning_length), "wav": wav[None],
    }  # fmt: skip
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    with without_tf32():  # or the codes would depend on the kind of GPU
        codes: torch.Tensor = GPTTrainer.format_batch_on_device(model, batch)["audio_codes"][0]
    return codes.cpu()


def fingerprint(parts: Parts, data: Data, digests: Mapping[str, str]) -> str:
    """SHA-256 over texts, speakers, audio bytes and limits, in order; independent of the files' folder."""
    digest = hashlib.sha256()
    digest.update(f"{data.language} {data.max_audio_seconds} {data.max_text_tokens} {data.probe_clips}".encode())
    for part in parts:
        digest.update(b"\0part")
        for row in part:
            digest.update(f"\0{row['text']}\0{row['speaker_name']}\0{digests[row['audio_file']]}".encode())
    return digest.hexdigest()[:16]
