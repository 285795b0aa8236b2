"""The judgement of data, base and machine before any GPU time is spent. Plain data in, findings out; no torch."""
