"""What a study is configured by, and what it ends in: study.toml with flags, and best_config.json."""
