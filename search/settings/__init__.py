"""How a study is configured (study.toml and flags), and what it results in (best_config.json)."""
