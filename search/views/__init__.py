"""What a command tells: to a terminal, a log, a script, a telephone."""
