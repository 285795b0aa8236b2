"""`study.py train`: the full run of a `best_config.json`, up to a folder that speaks."""
