"""`python -m mmexp.repeat RUN_DIR [--anyway] [launch...=... ...]`: run a finished run again, and compare its numbers.

The repeat has a folder of its own beside RUN_DIR (RUN_DIR-repeat-1). RUN_DIR, which may be a member of a sweep, stays
as it is. What may change the numbers (commit, local changes, packages, processes, data) must be as it was; else what
differs is named, and nothing is run, unless --anyway says so. The same command goes on with a repeat that was
interrupted. Exit code 0 where the numbers are equal to the digit or agree within the interval, 1 where they differ. On
a CPU, in one process and on the same machine, whatever is not equal to the digit differs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from mmexp.composition import TYPES, VALUES, Composition
from mmexp.parser import Parser, ending_in_words
from mmexp.rank import log_into
from mmexp.recording.run_files import finite, remove_if_only, write_whole
from mmexp.recording.status import read_result
from mmexp.repeat.agreement import Agreement, Verdict
from mmexp.repeat.conditions import Change
from mmexp.repeat.mark import REPORT
from mmexp.repeat.original import Original
from mmexp.repeat.table import print_agreement
from mmexp.resume import launched_by
from mmexp.schema import ConfigError
from mmexp.slurm.jobs import refuse_while_queued

ANYWAY = "--anyway"


def main(arguments: list[str] | None = None) -> None:
    asked = parser().parse_args(arguments)
    with ending_in_words():
        repeat(asked.run_dir, asked.launch, asked.anyway)


def parser() -> Parser:
    """The command line."""
    made = Parser("mmexp.repeat", __doc__)
    made.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    made.add_argument(
        "launch", nargs="*", default=[], metavar="launch...=...", help="where it runs, as of mmexp.resume"
    )
    made.add_argument(ANYWAY, action="store_true", help="although what may change the numbers has changed")
    return made


def repeat(run_dir: Path, overrides: list[str], anyway: bool) -> None:
    """Run it again, or go on with that, and compare. Exits with 1 where the numbers differ."""
    original = Original.read(run_dir)
    original.composition.enter()
    again = launched_by(original.repeat(), overrides)
    try:
        changes = original.changes(again)
        if changes and not anyway:
            refuse(original, changes)
    except ConfigError:
        remove_if_only(again.run_dir, {VALUES, TYPES, REPORT})
        raise
    if read_result(again.run_dir)["status"] != "finished":
        refuse_while_queued(again.run_dir)
        log_into(again)
        again.experiment.launch.launch(again)
    if read_result(again.run_dir)["status"] != "finished":
        print(f"Once {again.run_dir} has ended, this compares it: python -m mmexp.repeat {original.run_dir}")
        return
    conclude(original, again, changes)


def refuse(original: Original, changes: list[Change]) -> None:
    """Raise `ConfigError` with what has changed."""
    remedies = [change.remedy for change in changes if change.remedy]
    restore = f"Restore them ({'; '.join(remedies)})" if remedies else "Restore them"
    raise ConfigError(
        f"{original.run_dir} would not be repeated as it was: {', '.join(map(str, changes))}. {restore}, or repeat it "
        f"with these changes: {ANYWAY}"
    )


def conclude(original: Original, again: Composition, changes: list[Change]) -> None:
    """Print how the numbers of both agree, and leave it in the repeat's folder."""
    machine = original.other_machine()
    must_be_equal = original.is_determined and not changes and not machine
    agreement = Agreement.of(original.run_dir, again.run_dir, original.result["primary_metric"], must_be_equal)
    print_agreement(agreement, [*changes, *machine])
    report = {
        "original": str(original.run_dir),
        **agreement.plain(),
        "changes": [asdict(change) for change in changes],
        "machine": [asdict(change) for change in machine],
    }
    write_whole(again.run_dir / REPORT, json.dumps(finite(report), indent=2))
    print(f"All numbers side by side: {again.run_dir / REPORT}")
    if agreement.verdict is Verdict.differ:
        sys.exit(1)


if __name__ == "__main__":
    main()
