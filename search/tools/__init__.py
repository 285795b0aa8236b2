"""What is useful without a study, or before it.

* `fetch-base`: `fetch` downloads the files that `base_files` pins, once their licence is accepted.
* `extend-vocab`: `extend` places what `extend_vocabulary` makes in a process of its own, with the merges of `merges`.
* `checkpoints`: `run_folder` finds runs, `run_log` reads their logs, `corrections` says what these mean. `measure`
  finds data and base, and starts `bench`, which measures the files, on clips that `held_out` finds. `advice` says
  which checkpoint to take; `checkpoint_tables` shows it all.
* `database`: `own_database` serves a PostgreSQL; `database_folder` makes what it needs, with the programs that
  `postgres_programs` finds.
* `slurm`: `slurm_script` is a job array of searches.
"""
