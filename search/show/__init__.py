"""What a terminal shows: progress while it runs, and tables of what was found."""
