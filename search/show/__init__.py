"""What a terminal shows: progress while a search runs, and tables of its results."""
