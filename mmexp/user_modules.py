"""Components of one's own: the Python files in a folder that is given with `--config-dir`, beside their YAML."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

imported_folders: list[Path] = []
"""Folders whose modules this process has imported: what another process must import to know the same schemas."""


def import_user_modules(arguments: list[str]) -> None:
    """Import the modules of the config folder that the command line names."""
    import_modules_of(config_folders(arguments))


def import_modules_of(folders: Sequence[Path]) -> None:
    """Import every .py file of the folders, so that its schemas are stored.

    A file may hold anything that a module of mmexp may: `loss/mine.py` with `@schema("loss", "mine")` is to
    `loss/mine.yaml` what `mmexp/losses/mnrl.py` is to `conf/loss/mnrl.yaml`.
    """
    for folder in map(Path.resolve, folders):
        if folder in imported_folders:
            continue
        imported_folders.append(folder)
        for file in sorted(folder.rglob("*.py")):
            name = "_".join(["mmexp_user", *file.relative_to(folder).with_suffix("").parts])
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module  # dataclasses look their module up, and so does pickle
            spec.loader.exec_module(module)


def config_folders(arguments: list[str]) -> list[Path]:
    """The folders after --config-dir (or -cd)."""
    folders = []
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd") and (equals or following is not None):
            folders.append(Path(value if equals else following or ""))
    return folders
