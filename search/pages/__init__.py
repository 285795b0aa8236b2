"""What a browser shows: the report, the page of a check, and what Optuna's dashboard adds of ours."""
