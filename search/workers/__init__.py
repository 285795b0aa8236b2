"""The slots of one machine: the supervisor, its child processes and their pipes, and the events that they report."""
