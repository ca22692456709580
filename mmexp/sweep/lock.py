"""One parent at a time on the folder of a sweep."""

from __future__ import annotations

import fcntl
import getpass
import json
import logging
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

from mmexp.schema import ConfigError

log = logging.getLogger(__name__)

LOCK = ".lock"


class FolderLock:
    """Held until it is released, or this process ends, however it ends: the kernel holds it, the file says by whom."""

    def __init__(self, folder: Path) -> None:
        """Take it. Raises `ConfigError`, which says who holds it, where it is taken."""
        self._stream = (folder / LOCK).open("a+")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.seek(0)
            taken_by = _words(self._stream.read())
            self._stream.close()
            raise ConfigError(
                f"the sweep in {folder} is run by {taken_by}. Wait for it to end, or give this one a folder of its "
                "own with sweep.name=..."
            ) from None
        except OSError as error:  # a file system without locks
            log.warning("two processes that run this sweep at once would disturb each other: %s", error)
        self._stream.truncate(0)
        self._stream.write(json.dumps(_this_process()))
        self._stream.flush()

    def release(self) -> None:
        self._stream.close()


def _this_process() -> dict[str, Any]:
    return {
        "user": _user(),
        "host": platform.node(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _user() -> str:
    """A container may run as a user that it has no name for."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _words(content: str) -> str:
    """Who holds the lock; it may be so new that its file is empty."""
    if not content:
        return "another process"
    holder = json.loads(content)
    return f"{holder['user']} on {holder['host']}, process {holder['pid']}, since {holder['since']}"
