"""The search space of XTTS fine-tuning: hyperparameters, schedules and the ranges to search."""
