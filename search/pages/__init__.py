"""What a browser shows: the report, the page of a check, and notes and figures for Optuna's dashboard."""
