"""`python -m mmexp.dashboard`: show the runs of a project in Trackio's dashboard, on this machine.

It prints links to open, and ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress

from mmexp.dashboard.project import runs_of
from mmexp.dashboard.server import serve
from mmexp.parser import Parser, ending_in_words
from mmexp.schema import ConfigError


def port(word: str) -> int:
    """From 1 to 65535."""
    if word.isdecimal() and 0 < int(word) < 65536:
        return int(word)
    raise argparse.ArgumentTypeError(f"{word} is none. Use a number from 1 to 65535")


def arguments() -> argparse.Namespace:
    parser = Parser("mmexp.dashboard", __doc__)
    parser.add_argument(
        "--project", default="mmexp", help="Trackio project, tracking.project of the runs (%(default)s)"
    )
    parser.add_argument("--port", type=port, help="the first that is free from 7860 on")
    parser.add_argument("--host", default="127.0.0.1", help="whom to let see it (%(default)s: this machine alone)")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with ending_in_words(), suppress(KeyboardInterrupt), serve(asked.project, asked.host, asked.port) as links:
        try:
            runs_of(asked.project)
        except ConfigError as error:  # its first run may come yet
            print(f"mmexp: {error}", file=sys.stderr)
        for what, link in links.items():
            print(f"{what + ':':<12}{link}", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
