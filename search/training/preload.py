"""What the fork server imports once, for all children to start with: torch, TTS and the code of a run."""

import gc

import search.training.prepare
import search.training.run  # noqa: F401

# The objects of the imported modules leave the collector's sight: it took a third of each child's start (measured),
# and touched, and so copied, pages that children share with this process.
gc.collect()
gc.freeze()
