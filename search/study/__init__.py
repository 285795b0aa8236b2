"""The Optuna study that machines share: opening it, its ledger and leases, its rules, and what it has found."""
