"""The user's speech recogniser, from a folder on this machine, and how much of a sentence it understands."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Recogniser:
    """Any model that transformers' pipeline "automatic-speech-recognition" reads: Whisper, wav2vec 2.0 and others."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Nothing is downloaded, and no code of the folder is run. Raises what transformers raises."""
        from transformers import pipeline  # seconds, which runs without a recogniser need not spend

        self.name = folder.name
        # A folder is read from disk. `local_files_only` would add nothing, and Whisper's generation refuses it.
        self._pipeline: Any = pipeline(
            "automatic-speech-recognition", model=str(folder.absolute()), device=device, trust_remote_code=False
        )

    def error_rate(self, wav: np.ndarray, rate: int, text: str, language: str) -> float:
        """Character edits that turn what was understood of `wav` (samples,) into `text`, over the characters of `text`.

        Both without case, punctuation and repeated spaces, which recognisers write as they please. May exceed 1.
        """
        import jiwer

        wanted, understood = plain(text), plain(self.understood(wav, rate, language))
        return float(jiwer.cer(wanted, understood)) if wanted else float(bool(understood))

    def understood(self, wav: np.ndarray, rate: int, language: str) -> str:
        """The recognised text. A Whisper is told the `language` if it knows it, else it guesses."""
        generation = getattr(self._pipeline.model, "generation_config", None)  # CTC models have none
        token = f"<|{language.partition('-')[0]}|>"  # XTTS says zh-cn
        known = getattr(generation, "lang_to_id", None) or {}
        named = {"generate_kwargs": {"language": token, "task": "transcribe"}} if token in known else {}
        return str(self._pipeline({"raw": wav.astype(np.float32), "sampling_rate": rate}, **named)["text"])


def plain(text: str) -> str:
    """Letters, marks, digits and single spaces of `text`, in NFC and lower case."""
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in unicodedata.normalize("NFC", text).lower())
    return " ".join("".join(kept).split())
