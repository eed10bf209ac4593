"""A batch script for Slurm: an array of plain `fewscans train RUN` that share the work by the locks of one store.

Locks balance the load better than shards: a job that is done with its run takes the next one that nobody holds. Slurm
sends SIGUSR1 to the script shortly before the time limit. The script passes it on, training saves its progress and ends
with `STOPPED`, and the script queues the job again.
"""

from __future__ import annotations

STOPPED = 75  # the exit code of `fewscans train` when it was told to stop: EX_TEMPFAIL, come again
WARNED_SECONDS = 120  # before the time limit: enough for one step and one save

SCRIPT = """\
#!/bin/bash
# Trains {run} in {jobs} jobs on one store. Submit it in the project's folder: sbatch FILE
# Partition, account and memory are your cluster's: sbatch --partition=... FILE
#SBATCH --job-name=fewscans-{run}
#SBATCH --output=fewscans-{run}-%a.log
#SBATCH --array=1-{jobs}
{gpus}#SBATCH --cpus-per-task={cpus}
#SBATCH --time={time}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{warned}

[ -f .venv/bin/activate ] && . .venv/bin/activate

again= woken=yes
fewscans train {run}{options} &
training=$!
trap 'again=yes woken=yes; kill -USR1 $training' USR1  # the time limit is near
trap 'woken=yes; kill -TERM $training' TERM  # cancelled; or preempted, and then Slurm itself queues it again
while [ $woken ]; do woken=; wait $training; code=$?; done
if [ $again ] && [ $code -eq {stopped} ]; then scontrol requeue $SLURM_JOB_ID; fi
exit $code
"""


def script(run: str, jobs: int, gpus: int, cpus: int, hours: float, profile: str | None = None) -> str:
    """The script's text.   gpus, cpus, hours: of each job; without a GPU, a job trains as many runs as it has CPUs."""
    minutes = max(1, round(60 * hours))
    options = (f" --profile {profile}" if profile else "") + (" --device cuda" if gpus else " --device cpu")
    return SCRIPT.format(
        run=run, jobs=jobs, gpus=f"#SBATCH --gpus={gpus}\n" if gpus else "", cpus=cpus,
        time=f"{minutes // 60:02d}:{minutes % 60:02d}:00", warned=WARNED_SECONDS, options=options, stopped=STOPPED,
    )  # fmt: skip
