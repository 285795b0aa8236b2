"""The commands of study.py: options, wiring, and what each tells. One file per command."""
