"""What a run can be repeated and explained with: command, versions, machine, and the state of the code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "mmexp",
    "torch",
    "torchvision",
    "transformers",
    "sentence-transformers",
    "accelerate",
    "datasets",
    "deepspeed",
    "mteb",
    "hydra-core",
    "omegaconf",
    "trackio",
    "codecarbon",
)


def environment() -> dict[str, Any]:
    """What `environment.json` holds."""
    import torch

    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "command": [sys.executable, *sys.orig_argv[1:]],
        "working_directory": str(Path.cwd()),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "gpus": gpus,
        "python": platform.python_version(),
        "versions": versions(),
        "git": git_state(Path(__file__).parent),
    }


def versions() -> dict[str, str | None]:
    """Installed versions of the packages that a run's numbers depend on."""

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {package: installed(package) for package in PACKAGES}


def _digest(file: Path) -> bytes:
    """Of what a file holds or a link names; of nothing for what is neither, such as a checkout within the checkout."""
    try:
        if file.is_symlink():
            return hashlib.sha256(os.fsencode(os.readlink(file))).digest()
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return b""


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that holds `folder`, and a hash of what differs from it. None outside a checkout.

    The whole checkout counts, files that git does not know yet included: a new YAML changes a run as much as an edit.
    """

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True).stdout

    try:
        root = Path(git("rev-parse", "--show-toplevel").decode().strip())
        folder = root
        commit, difference = git("rev-parse", "HEAD").decode().strip(), git("diff", "HEAD", "--binary")
        new_files = git("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        return None
    digest = hashlib.sha256(difference)
    for name in new_files:
        digest.update(name + b"\0" + _digest(root / os.fsdecode(name)))
    changed = bool(difference or new_files)
    return {"commit": commit, "has_local_changes": changed, "diff_sha256": digest.hexdigest()[:16] if changed else None}
