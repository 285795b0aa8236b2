"""What is useful without a study: fetch-base, extend-vocab, and checkpoints of any run of coqui's trainer."""
