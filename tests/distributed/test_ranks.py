"""What ranks tell each other."""

from __future__ import annotations

import pytest
import torch

from mmexp.distributed import ranks
from mmexp.schema import ConfigError
from tests.distributed.processes import run_ranks


def see_different_files() -> str:
    torch.distributed.init_process_group("gloo")
    ranks.refuse_unequal("the same", "the composition of the run")
    with pytest.raises(ConfigError) as refused:
        ranks.refuse_unequal(f"that of {min(ranks.rank(), 1)}", "the composition of the run")
    return str(refused.value)


def test_machines_that_see_different_files_are_refused_on_every_rank():
    said = run_ranks(see_different_files, 3)
    assert "composition of the run is that of 0 on rank 0, and that of 1 on rank 1: machines see" in said[0]
    assert said[0] == said[1] == said[2]
