"""Decides which config wins: candidates race in full runs with several seeds, and the proven one is exported."""
