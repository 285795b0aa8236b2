"""What the fork server imports once, for all children to start with: torch, TTS and the code of a run."""

# ruff: noqa: E402, F401

import gc
import signal

# The fork server ignores Ctrl-C, but only once it has loaded everything: until then it would print a traceback.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import torch
from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

import search.preparation.prepare
import search.training.run

# The first spectrogram of a process sets up its FFT, a tenth of a second that children need not spend (measured). One
# thread computes it (`XTTSDataset`'s module sets that): no pool is started that would not survive the fork.
with torch.inference_mode():
    TorchMelSpectrogram(mel_norm_file=None)(torch.zeros(1, 4096))

# The objects of the imported modules leave the collector's sight: it took a third of each child's start (measured),
# and touched, and so copied, pages that children share with this process.
gc.collect()
gc.freeze()
