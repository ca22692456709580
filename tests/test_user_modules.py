"""A loss and a model family of one's own: a Python file and a YAML each, outside the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmexp.__main__ import CONF
from mmexp.user_modules import config_folders

LOSS = '''
from dataclasses import dataclass

from mmexp.losses import EmbedderLoss
from mmexp.schema import schema


@schema("loss", "triplet")
@dataclass
class Triplet(EmbedderLoss):
    """The page nearer than the hard negative, by a margin."""

    margin: float = 5.0
    """Least difference of the distances."""

    def build(self, model):
        from sentence_transformers.sentence_transformer.losses import TripletLoss

        return TripletLoss(model, triplet_margin=self.margin)
'''
MODEL = '''
from dataclasses import dataclass

from mmexp.models.tiny_vlm import TinyVlm
from mmexp.schema import schema


@schema("model", "halved")
@dataclass
class Halved(TinyVlm):
    """A family whose sizes follow from one number."""

    width: int = 64
    """Size of all hidden states."""

    def __post_init__(self):
        super().__post_init__()
        self.hidden_size = self.vision_hidden_size = self.width // 2
'''


def test_a_loss_and_a_model_of_ones_own_train_from_outside_the_package(tmp_path):
    mine = tmp_path / "my_conf"
    components = [("loss", "triplet", LOSS, "margin: 0.5"), ("model", "halved", MODEL, "width: 64")]
    for group, name, code, values in components:
        (mine / group).mkdir(parents=True)
        (mine / group / f"{name}.py").write_text(code)
        (mine / group / f"{name}.yaml").write_text(f"defaults: [/schema/{group}/{name}@_here_]\n{values}\n")
    command = [
        *(sys.executable, "-m", "mmexp", "--config-dir", "my_conf", "model=halved", "loss=triplet"),
        *("dims=none", "tracking=none", "tracking.grid=null", "trainer.bf16=false", "trainer.max_steps=2"),
        *("trainer.per_device_train_batch_size=4", "data.num_train_pages=20", "data.num_eval_pages=10"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(CONF).parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    [file] = tmp_path.glob("multirun/vdr_tiny/*/result.json")
    result = json.loads(file.read_text())
    assert result["model"]["embedding_dimension"] == 32
    assert "TripletLoss" in (file.parent / "model" / "README.md").read_text()


@pytest.mark.parametrize("arguments", [["--config-dir", "a"], ["--config-dir=a"], ["-m", "-cd", "a", "seed=1"]])
def test_the_config_folder_is_found_however_it_is_given(arguments):
    assert config_folders(arguments) == [Path("a")]
    assert config_folders(["seed=1"]) == config_folders(["--config-dir"]) == []
