"""One training run. With `search.miniature.base` the only code that imports torch, TTS or trainer."""
