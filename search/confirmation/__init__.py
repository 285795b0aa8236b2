"""Decides which config wins: full runs find a learning rate, and a race with the stock recipe proves the config."""
