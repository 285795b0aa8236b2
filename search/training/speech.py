"""Speech of a run: sentences of the eval set, spoken with the weights of its best evaluation, and their likeness.

It follows the training, so it cannot change it. The voice comes from a training clip of the same speaker, which the
model has heard; the sentence is one that it has not.
"""

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from TTS.tts.configs.xtts_config import XttsConfig

from search.files import write_text
from search.study.spoken import FOLDER, Sentence, Speech
from search.ties import is_lower, lowest
from search.training import base
from search.training.corpus import Clip, Corpus, longest_first
from search.training.recogniser import Recogniser
from search.training.trainee import Trainee
from search.trial import Evaluation, Prepared, TrialSpec

OUTPUT_RATE = 24_000  # Hz, of XTTS's vocoder
LONGEST_VOICE = 12.0  # seconds; longer references do not help
SHORTEST = 0.1  # seconds; the speaker encoder needs some frames
PATIENCE = 3  # times the codes of the recording; a model that has not stopped by then does not stop
SAMPLING = ("temperature", "length_penalty", "repetition_penalty", "top_k", "top_p")  # of a base's config.json


class Speaker:
    """Keeps the weights of a run's best evaluation and speaks with them once the training is over."""

    def __init__(self, spec: TrialSpec, model: Trainee) -> None:
        self._spec, self._model = spec, model
        self._best: Evaluation | None = None
        self._weights: base.Weights = {}

    def evaluated(self, evaluation: Evaluation) -> None:
        """Copies the GPT's weights into main memory if they are the run's best, and good enough to be heard."""
        below = math.inf if self._spec.speak_below is None else self._spec.speak_below
        if not is_lower(evaluation.mel_ce, min(below, self._best.mel_ce if self._best else math.inf)):
            return
        self._best = evaluation
        self._weights = {}  # before the copy, so that there is never a third one
        state = self._model.xtts.gpt.state_dict()
        self._weights = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}

    def state_dict(self) -> base.Weights:
        """The weights that it would speak with; none if the run has no evaluation that is good enough."""
        return self._weights

    def load_state_dict(self, weights: base.Weights | None, evaluations: Sequence[Evaluation]) -> None:
        """Of a run that made `evaluations`. Where it had other words to speak, or none, its weights may be missing:
        then it is silent unless it comes to a lower evaluation."""
        self._best = lowest(evaluations)
        self._weights = {name: value.clone() for name, value in (weights or {}).items()}

    @torch.inference_mode()
    def speak(self, clips: Corpus, prepared: Prepared, go_on: Callable[[], bool]) -> Speech | None:
        """Speaks into the folder `speech` of the run, and writes speech.json; leaves the model unfit for training.

        Asks `go_on()` before it begins and before each sentence. None if it did not speak a single one.
        """
        if self._best is None or not self._weights or not go_on():
            return None
        started = time.monotonic()
        self._model.add_vocoder()
        model = self._model.xtts
        model.gpt.load_state_dict(self._weights)
        args = prepared.coqui_config["model_args"]
        model.mel_stats = torch.load(args["mel_norm_file"], map_location=model.device, weights_only=True)
        model.eval()
        model.gpt.init_gpt_for_inference(kv_cache=True, use_deepspeed=False)
        folder = Path(self._spec.directory) / FOLDER
        folder.mkdir(exist_ok=True)
        stored = XttsConfig().to_dict() | base.config_values(Path(args["xtts_checkpoint"]).parent)
        recogniser = self._recogniser(model.device)
        booth = Booth(model, clips, folder, stored, model.config.audio.sample_rate, recogniser)
        sentences = []
        for number, clip in enumerate(chosen(clips.eval, self._spec.sentences, prepared.seed), 1):
            if not go_on():
                break
            torch.manual_seed(self._spec.seed + number)
            sentences.append(booth.sentence(number, clip))
        if not sentences:
            return None
        listened = any(rate is not None for s in sentences for rate in (s.cer, s.recorded_cer))
        name = recogniser.name if recogniser and listened else None
        spoken = Speech(self._best.step, sentences, name, took=time.monotonic() - started)
        text = json.dumps(spoken.to_dict(), ensure_ascii=False, indent=2)
        write_text(Path(self._spec.directory) / "speech.json", text)
        return spoken

    def _recogniser(self, device: torch.device) -> Recogniser | None:
        """None, with the reason in the log, if it cannot be used: the speech is worth having without it."""
        if self._spec.recogniser is None:
            return None
        try:
            return Recogniser(Path(self._spec.recogniser), device)
        except Exception as error:  # transformers raises many kinds for a folder that it cannot read
            print(f"the recogniser in {self._spec.recogniser} cannot be used: {error}")
            return None


Voice = tuple[str, torch.Tensor, torch.Tensor]  # a clip's file in the folder `speech`, latents, speaker embedding


class Booth:
    """Speaks sentences with one model, in the voices of the training clips, and writes their files."""

    def __init__(
        self, model: Any, clips: Corpus, folder: Path, stored: dict[str, Any], rate: int, recogniser: Recogniser | None
    ) -> None:
        """`model` is an Xtts ready for inference, `stored` its config.json, `rate` that of the clips in Hz."""
        self._model, self._clips, self._folder, self._rate = model, clips, folder, rate
        self._stored, self._recogniser = stored, recogniser
        self._voices: dict[Clip, Voice] = {}
        self._longest = model.gpt.max_gen_mel_tokens

    def sentence(self, number: int, clip: Clip) -> Sentence:
        """The sentence of `clip`, spoken, with the recording of it and the clip that gave the voice beside it."""
        example = voice(clip, self._clips.train, self._rate)
        if example not in self._voices:
            self._voices[example] = self._voice_of(example, f"{number}-reference.wav")
        reference, latents, embedding = self._voices[example]
        self._model.gpt.max_gen_mel_tokens = limit = min(self._longest, PATIENCE * clip.codes + 20)
        sampling = {name: self._stored[name] for name in SAMPLING}
        made = self._model.inference(clip.text, clip.language, latents, embedding, **sampling)
        wav, recorded = np.atleast_1d(made["wav"]), self._clips.wav(clip)
        return Sentence(
            text=clip.text,
            speaker=clip.speaker,
            spoken=self._write(f"{number}-spoken.wav", wav, OUTPUT_RATE),
            recorded=self._write(f"{number}-recorded.wav", recorded[0].numpy(), self._rate),
            reference=reference,
            seconds=len(wav) / OUTPUT_RATE,
            cut=made["gpt_latents"].shape[1] >= limit - 1,
            similarity=self._similarity(torch.from_numpy(wav)[None], OUTPUT_RATE, embedding),
            recorded_similarity=self._similarity(recorded, self._rate, embedding),
            cer=self._error_rate(wav, OUTPUT_RATE, clip),
            recorded_cer=self._error_rate(recorded[0].numpy(), self._rate, clip),
        )

    def _voice_of(self, example: Clip, name: str) -> Voice:
        seconds, chunk = self._stored["gpt_cond_len"], self._stored["gpt_cond_chunk_len"]
        longest = min(self._stored["max_ref_len"], LONGEST_VOICE)
        heard = self._clips.wav(example)[:, : int(longest * self._rate)].to(self._model.device)
        latents = self._model.get_gpt_cond_latents(heard, self._rate, seconds, min(seconds, chunk))
        embedding = self._model.get_speaker_embedding(heard, self._rate)
        return self._write(name, heard[0].cpu().numpy(), self._rate), latents, embedding

    def _write(self, name: str, sound: np.ndarray, rate: int) -> str:
        soundfile.write(self._folder / name, np.clip(sound, -1, 1), rate, subtype="PCM_16")
        return name

    def _error_rate(self, wav: np.ndarray, rate: int, clip: Clip) -> float | None:
        if self._recogniser is None:
            return None
        try:
            return self._recogniser.error_rate(wav, rate, clip.text, clip.language)
        except Exception as error:  # what a model of the user's raises is not worth the speech
            print(f"the recogniser failed: {error!r}")
            return None

    def _similarity(self, wav: torch.Tensor, rate: int, embedding: torch.Tensor) -> float | None:
        """Cosine of the speaker embeddings, -1 to 1; None for a sound too short to have one."""
        if wav.shape[-1] < SHORTEST * rate:
            return None
        own = self._model.get_speaker_embedding(wav, rate)
        found = torch.nn.functional.cosine_similarity(own.flatten(), embedding.flatten(), dim=0).item()
        return found if math.isfinite(found) else None


def chosen(clips: list[Clip], count: int, seed: int) -> list[Clip]:
    """The same sentences in every trial of a study: drawn from the eval set, each text once."""
    by_text = {clip.text: clip for clip in reversed(clips)}
    once = [clip for clip in clips if by_text[clip.text] is clip]
    return random.Random(seed).sample(once, min(count, len(once)))


def voice(clip: Clip, train: list[Clip], rate: int) -> Clip:
    """The longest training clip of the speaker up to `LONGEST_VOICE`; of any speaker, where this one has none."""
    own = [other for other in train if other.speaker == clip.speaker] or train
    return longest_first(own, LONGEST_VOICE * rate)[0]
