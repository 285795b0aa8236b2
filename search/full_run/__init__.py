"""`study.py train`: from a best_config.json to a folder that speaks."""
