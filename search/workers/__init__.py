"""The slots of one machine: supervisor, children and their pipes, and the events that they tell."""
