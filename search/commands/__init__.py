"""The commands of study.py: options, wiring, and what each one prints. One file per command."""
