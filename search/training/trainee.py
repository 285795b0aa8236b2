"""The parts of the stock model that a run needs: the GPT and the conditioning mels; the vocoder only for speech."""

import inspect
from pathlib import Path

from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram
from TTS.tts.layers.xtts.gpt import GPT
from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer, GPTTrainerConfig
from TTS.tts.models.xtts import Xtts

from search.training import base
from search.training.tokenizer import Tokenizer

VOCODER = "hifigan_decoder."  # and the speaker encoder within it, of a base's weights


class Silent(Xtts):
    """`Xtts` without vocoder and speaker encoder, whose making took half of a run's set-up (docs/experiments.md)."""

    def init_models(self) -> None:
        """Stock's first half: the GPT, once the vocabulary is known."""
        if self.tokenizer.tokenizer is None:  # stock's constructor
            return
        args = self.args
        args.gpt_number_text_tokens = self.tokenizer.get_number_tokens()
        args.gpt_start_text_token = self.tokenizer.tokenizer.token_to_id("[START]")
        args.gpt_stop_text_token = self.tokenizer.tokenizer.token_to_id("[STOP]")
        # The arguments that are named as the config names them, and three that are not.
        same = inspect.signature(GPT).parameters.keys() & {name.removeprefix("gpt_") for name in vars(args)}
        self.gpt = GPT(
            **{name: getattr(args, f"gpt_{name}") for name in same},
            model_dim=args.gpt_n_model_channels,
            heads=args.gpt_n_heads,
            max_mel_tokens=args.gpt_max_audio_tokens,
        )


class Trainee(base.StudyModel):
    """`StudyModel` with prepared codes alone: without DVAE and vocoder, and each part made once (stock: twice)."""

    def __init__(self, config: GPTTrainerConfig) -> None:
        """With its base's weights, on the CPU. Only for a base that passed `base_check.check`."""
        super(GPTTrainer, self).__init__(config)
        self.xtts = Silent(config)
        self.xtts.tokenizer = Tokenizer(self.args.tokenizer_file)
        with base.NoInit():
            self.xtts.init_models()
        weights = base.gpt_weights(base.read_weights(Path(self.args.xtts_checkpoint)))
        # A checkpoint of the first XTTS has copies of the GPT for inference, which nothing here is made for.
        missing, _ = self.xtts.gpt.load_state_dict(weights, strict=False)
        assert not missing, f"the base lacks {missing[:3]}"
        fine = self.args.gpt_use_perceiver_resampler  # as `GPTTrainer.__init__` makes it
        self.torch_mel_spectrogram_style_encoder = TorchMelSpectrogram(
            filter_length=2048 if fine else 4096,
            hop_length=256 if fine else 1024,
            win_length=1024 if fine else 4096,
            normalize=False,
            sampling_rate=config.audio.sample_rate,
            mel_fmin=0,
            mel_fmax=8000,
            n_mel_channels=80,
            mel_norm_file=self.args.mel_norm_file,
        )

    def add_vocoder(self) -> None:
        """Makes `xtts` able to speak, with the base's vocoder and speaker encoder, where the GPT lies."""
        args = self.args
        with base.NoInit():
            same = inspect.signature(HifiDecoder).parameters.keys() & vars(args).keys()
            given = {name: getattr(args, name) for name in same}
            vocoder = HifiDecoder(**given, ar_mel_length_compression=args.gpt_code_stride_len)
        weights = base.read_weights(Path(args.xtts_checkpoint))
        vocoder.load_state_dict({k.removeprefix(VOCODER): v for k, v in weights.items() if k.startswith(VOCODER)})
        self.xtts.hifigan_decoder = vocoder.to(self.xtts.device)
