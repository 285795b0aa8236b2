"""The Optuna study that machines share: opening it, its ledger and leases, its pruners, and its findings."""
