"""One parent at a time on the folder of a sweep."""

from __future__ import annotations

import fcntl
import getpass
import os
import signal
import subprocess
import sys

import pytest

from mmexp.schema import ConfigError
from mmexp.sweep.lock import FolderLock


def test_a_second_parent_is_refused_and_told_who_holds_the_folder(tmp_path):
    held = FolderLock(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"run by {getpass.getuser()} on .*, process {os.getpid()}, since \d"
    ) as error:
        FolderLock(tmp_path)
    assert "sweep.name=" in str(error.value)
    held.release()
    FolderLock(tmp_path).release()


def test_a_user_without_a_name_is_known_by_number(tmp_path, monkeypatch):
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", unknown)
    held = FolderLock(tmp_path)
    with pytest.raises(ConfigError, match=rf"run by {os.getuid()} on "):
        FolderLock(tmp_path)
    held.release()


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, caplog):
    def refuse(*given):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    FolderLock(tmp_path).release()
    assert "would disturb each other" in caplog.text


def test_the_lock_of_a_killed_parent_is_free_though_its_children_live(tmp_path):
    code = (
        "import subprocess, sys, time; from pathlib import Path; from mmexp.sweep.lock import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path)!r}))\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        with pytest.raises(ConfigError, match=f"process {parent.pid}"):
            FolderLock(tmp_path)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        FolderLock(tmp_path).release()
    finally:
        parent.kill()
        os.kill(child, signal.SIGKILL)
