"""The script of a Slurm job array that searches: one GPU for each of its jobs, which come back until the study is done.

Tried with Slurm 22.05. Without `srun`: a signal to a step reaches each of its processes, and `srun` passes on another.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS_TO_END = 120  # before the time limit; runs end at their next batch, and are killed after 30 s

_SCRIPT = """\
#!/bin/bash
# Searches with {gpus} GPUs, one for each job of the array. Options of sbatch's command line win over these.
{directives}

cd {folder} || exit 2
{exports}{search} &
search=$!

# USR1 comes to this script alone, {seconds} s before the time limit. TERM comes to all processes of a job that is
# cancelled or preempted: the search gets its own.
time_is_over= signalled=
trap 'time_is_over=yes signalled=yes; kill -TERM $search' USR1
trap 'signalled=yes' TERM
wait $search; code=$?
while [ -n "$signalled" ]; do # a signal ends the wait, too
    signalled=
    wait $search; code=$?
done

# 0: the study is done. 2 and 1: the same again would fail again, or somebody should look.
again=
case $code in
    7[5-9] | 13[4-79]) again=yes ;; # the database is away, or a pause; killed, as for want of memory
    130 | 143) again=$time_is_over ;; # stopped
esac
# By the array's numbers: SLURM_JOB_ID of its last job is the id of the whole array.
[ -z "$again" ] || scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
exit $code
"""


def script(
    gpus: int,
    limits: Mapping[str, str | None],
    folder: Path,
    environment: Mapping[str, str],
    command: Sequence[str],
) -> str:
    """The text for `sbatch`.

    Args:
        limits: Further options of sbatch by name; those that are None are left to the cluster.
        folder: Where the search runs.
        environment: Variables to set; sbatch may be told to pass none on.
        command: The search.
    """
    options = {
        "job-name": "xtts-study",
        "array": f"0-{gpus - 1}",
        "nodes": "1",
        "ntasks": "1",
        "gres": "gpu:1",
        **limits,
        "requeue": "",
        "open-mode": "append",
        "signal": f"B:USR1@{SECONDS_TO_END}",
    }
    return _SCRIPT.format(
        gpus=gpus,
        directives="\n".join(
            f"#SBATCH --{name}{value and '='}{value}" for name, value in options.items() if value is not None
        ),
        folder=shlex.quote(str(folder)),
        exports="".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()),
        search=shlex.join(command),
        seconds=SECONDS_TO_END,
    )
