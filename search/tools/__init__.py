"""Commands that need no study: fetch-base, extend-vocab, and checkpoints of any run of coqui's trainer."""
