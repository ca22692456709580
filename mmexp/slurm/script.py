"""The script that is submitted: whole, so that it can be read, changed and submitted by hand."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.processes.interruption import STOPPED_BY_CLUSTER

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.launchers.slurm import Slurm

# On the first node. $job is what Slurm calls this job, also where it is one of an array.
BODY = """\
# The digest and the folder of the run; of an array, of each job's.
runs=(
{runs}
)
read -r digest run_dir <<< "${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}"
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
job=${{job:-$SLURM_JOB_ID}}
rm -f "$run_dir/result.json"  # of an earlier start

# Where the processes meet: the first node, by its address where its name means nothing to the others.
main=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
getent hosts "$main" > /dev/null ||
    main=$(scontrol --oneliner show node "$main" | grep -o ' NodeAddr=[^ ]*' | cut -d = -f 2)

# One task on every node, which starts the processes there. SIGUSR2 is for them: this shell must survive it.
trap '' USR2
code=0
srun --ntasks={nodes} --ntasks-per-node=1 --cpus-per-task={cpus} --kill-on-bad-exit=1 --mpi=none \\
    {python} -m mmexp.slurm.node "$run_dir" "$digest" "$main" || code=$?

# Stopped with a checkpoint, or ended because the node is wanted back: go on from there later, in the same folder.
wanted_back() {{ scontrol --oneliner show job "$job" | grep -q ' PreemptTime=[0-9]'; }}
if [ "$code" -eq {stopped} ] || {{ [ "$code" -ne 0 ] && wanted_back; }}; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_requeues} ]; then
        scontrol requeue "$job"
    else
        echo "mmexp: not requeued: launch.max_requeues={max_requeues} is reached" >&2
    fi
fi
exit "$code"
"""


def script_of(launch: Slurm, members: Sequence[Composition], file: Path, at_once: int | None = None) -> str:
    """The script `file`: a job for one run; with `at_once`, an array of jobs for several of which so many run."""
    first = members[0]
    log = file.parent / ("slurm-%j.log" if at_once is None else "slurm-%A_%a.log")
    options = [f"--job-name={first.experiment.name}", f"--chdir={first.working_directory}", f"--output={log}"]
    if at_once is not None:
        options.append(f"--array=0-{len(members) - 1}%{at_once}")
    setup = ["set -e  # a line of launch.setup that fails ends the job", *launch.setup, "set +e", ""]
    return "\n".join(
        [
            "#!/bin/bash",
            f"# Submit it with: sbatch {shlex.quote(str(file))}",
            *[f"#SBATCH {quoted(option)}" for option in [*options, *launch.options()]],
            "",
            *(setup if launch.setup else []),
            BODY.format(
                runs="\n".join(f"    {shlex.quote(f'{member.digest} {member.run_dir}')}" for member in members),
                nodes=launch.nodes,
                cpus=launch.num_cpus,
                python=launch.python or shlex.quote(sys.executable),
                stopped=STOPPED_BY_CLUSTER,
                max_requeues=launch.max_requeues,
            ),
        ]
    )


def quoted(option: str) -> str:
    """An option of sbatch as it stands in a script, where only double quotes are known."""
    name, equals, value = option.partition("=")
    return f'{name}{equals}"{value}"' if " " in value else option
