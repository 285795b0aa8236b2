"""Judges data, base and machine before any GPU time is spent: plain data in, findings out. Never imports torch."""
