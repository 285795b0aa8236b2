"""`python -m tests.chaos`: seeded rounds of faults over real processes and a real PostgreSQL (docs/reliability.md)."""
