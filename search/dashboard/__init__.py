"""Optuna's dashboard on our studies: served, guarded, cached, and told what our trials mean."""
