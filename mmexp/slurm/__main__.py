"""`python -m mmexp.slurm DIR`: how the jobs of a run, or of all members of a sweep, stand. Exit code 1 where any
failed."""

from __future__ import annotations

import sys
from pathlib import Path

from mmexp.__main__ import complain
from mmexp.parser import Parser, ending_in_words
from mmexp.slurm.jobs import FILE, job_of
from mmexp.slurm.progress import Progress


def main() -> None:
    parser = Parser("mmexp.slurm", __doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of a run or of a sweep")
    folder = parser.parse_args().folder.resolve()
    files = sorted([*folder.glob(FILE), *folder.glob(f"*/{FILE}")])
    progress = Progress([job for file in files if (job := job_of(file.parent)) is not None])
    if not progress.jobs:
        complain(f"{folder} has no job, and no run in it has. Submit one with launch=slurm.")
    with ending_in_words():
        progress.look()
    from rich.console import Console

    Console().print(progress.table())
    sys.exit(any(result["status"] != "finished" for result in progress.results.values()))


if __name__ == "__main__":
    main()
