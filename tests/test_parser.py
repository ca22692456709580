"""The arguments of the commands: help, what is missing, and options in any place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mmexp import resume, trackio_view
from mmexp.compare import __main__ as compare
from mmexp.dashboard import __main__ as dashboard
from mmexp.quantize import __main__ as quantize
from mmexp.repeat import __main__ as repeat
from mmexp.slurm import __main__ as slurm

MAINS = {
    "mmexp.compare": compare.main,
    "mmexp.dashboard": dashboard.main,
    "mmexp.quantize": quantize.main,
    "mmexp.repeat": repeat.main,
    "mmexp.resume": resume.resume,
    "mmexp.slurm": slurm.main,
    "mmexp.trackio_view": trackio_view.main,
}
NEED_A_FOLDER = ["mmexp.quantize", "mmexp.repeat", "mmexp.resume", "mmexp.slurm", "mmexp.trackio_view"]


@pytest.fixture
def ended(monkeypatch, capsys):
    """The exit code of a command, and what it printed."""

    def of(command: str, *arguments: str):
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        with pytest.raises(SystemExit) as exited:
            MAINS[command]()
        return exited.value.code, capsys.readouterr()

    return of


@pytest.mark.parametrize("command", MAINS)
def test_help_is_printed_and_is_no_error(command, ended):
    code, printed = ended(command, "--help")
    assert (code, printed.err) == (0, "")
    assert printed.out.startswith(f"usage: python -m {command} [-h]")


@pytest.mark.parametrize("command", NEED_A_FOLDER)
def test_without_a_folder_the_usage_is_an_error(command, ended):
    code, printed = ended(command)
    assert (code, printed.out) == (2, "")
    [line] = printed.err.splitlines()
    assert re.match(
        rf"mmexp: the following arguments are required: (RUN_)?DIR\. Usage: python -m {command} \[-h\]", line
    )


@pytest.mark.parametrize("command", MAINS)
def test_an_option_that_there_is_not_is_refused_in_one_line(command, ended):
    code, printed = ended(command, *(["there"] if command in NEED_A_FOLDER else []), "--colour")
    assert code == 2
    [line] = printed.err.splitlines()
    assert line.startswith("mmexp: unrecognized arguments: --colour")


@pytest.mark.parametrize("given", ["--anyway RUN launch.x=1", "RUN --anyway launch.x=1", "RUN launch.x=1 --anyway"])
def test_options_may_stand_anywhere(given):
    asked = repeat.parser().parse_args(given.split())
    assert (asked.run_dir, asked.launch, asked.anyway) == (Path("RUN"), ["launch.x=1"], True)


def test_a_folder_whose_run_cannot_be_shown_is_named(ended, tmp_path):
    code, printed = ended("mmexp.trackio_view", str(tmp_path))
    assert code == 2
    assert printed.err.startswith(f"mmexp: {tmp_path}/trackio.json cannot be read: No such file or directory.")
