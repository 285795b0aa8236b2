"""xtts-study: hyperparameters of XTTS-v2 fine-tuning, searched, proven and exported."""

__version__ = "0.1.0"
