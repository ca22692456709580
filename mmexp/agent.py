"""`python -m mmexp.agent FAILURE_FILE ARGUMENTS`: `accelerate launch ARGUMENTS`, which says what went wrong.

accelerate itself exits with 1 whatever a rank did. This writes the first failure, with its traceback, as JSON. And it
hands the signal that asks a run to stop on to the ranks, which torch's launcher would not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from mmexp.run_files import write_whole


def main() -> None:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    failure_file, *arguments = sys.argv[1:]
    signal.signal(signal.SIGUSR2, hand_on)
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        found = first_failure(rank, failure)
        write_whole(Path(failure_file), json.dumps(found, indent=2))
        sys.exit(found["exit_code"] if found["exit_code"] > 0 else 1)


def hand_on(number: int, frame: FrameType | None) -> None:
    """Pass a signal on to the ranks, which are this process' children."""
    import psutil

    for child in psutil.Process().children():
        os.kill(child.pid, number)


def first_failure(rank: int, failure: Any) -> dict[str, Any]:
    """What the rank that failed first left of its error; its exit code is minus the signal that killed it."""
    message: Any = failure.message
    trace = ""
    if failure.error_file_data and isinstance(failure.error_file_data.get("message"), dict):
        message = failure.error_file_data["message"].get("message", message)
        trace = failure.error_file_data["message"].get("extraInfo", {}).get("py_callstack", "")
    kind, _, text = str(message).partition(": ")
    has_error = bool(trace)
    return {
        "rank": rank,
        "exit_code": failure.exitcode,
        "type": kind if has_error else None,
        "message": text if has_error else str(message),
        "traceback": trace,
    }


if __name__ == "__main__":
    main()
