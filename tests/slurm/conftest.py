"""The cluster, once for all tests that need one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing_programs


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster that this process' own Slurm programs speak to."""
    if missing := missing_programs():
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install slurmctld slurmd slurm-client munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    before = {**os.environ}
    try:
        with Cluster(folder) as cluster:
            os.environ.update(cluster.environment)
            yield cluster
    finally:
        os.environ.clear()
        os.environ.update(before)
    shutil.rmtree(folder)
