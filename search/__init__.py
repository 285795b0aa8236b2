"""The search service: settings, storage, pruners, the supervisor, and one run's training."""
