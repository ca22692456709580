"""`python -m mmexp.processes.agent FAILURE_FILE ARGUMENTS`: `accelerate launch ARGUMENTS`, which says what went wrong.

accelerate itself exits with 1 whatever a rank did. This writes the first failure, with its traceback, as JSON. And it
hands the signal that asks a run to stop on to the ranks, which torch's launcher would not.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mmexp.processes.interruption import hold_back
from mmexp.recording.run_files import write_whole


def main() -> None:
    hold_back()  # first, so that no thread and no rank is without it
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    failure_file, *arguments = sys.argv[1:]
    threading.Thread(target=hand_on, daemon=True, name="hand-on").start()
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        found = first_failure(rank, failure)
        write_whole(Path(failure_file), json.dumps(found, indent=2))
        sys.exit(found["exit_code"] if found["exit_code"] > 0 else 1)


def hand_on() -> None:
    """Pass what asks a run to stop on to the ranks, which are this process' children."""
    import psutil

    while True:
        number = signal.sigwait({signal.SIGUSR2})
        while not (ranks := psutil.Process().children()):
            time.sleep(0.1)  # it came before they were started
        for rank in ranks:
            rank.send_signal(number)


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
        "time": time_of(failure),
        "exit_code": failure.exitcode,
        "type": kind if has_error else None,
        "message": text if has_error else str(message),
        "traceback": trace,
    }


def time_of(failure: Any) -> float:
    """When a rank failed, in seconds since 1970; elastic knows the second, the file that the rank left knows more."""
    file = Path(failure.error_file)
    return file.stat().st_mtime if file.exists() else float(failure.timestamp)


if __name__ == "__main__":
    main()
