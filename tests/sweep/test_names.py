"""What tells members apart: a label of what the sweep varies, a hash of all that changes a result."""

from __future__ import annotations

from pathlib import Path

from mmexp.sweep.names import identity, label, swept, values
from tests.test_run import experiment_of

COMMAND = ["+experiment=vdr_tiny", "data.num_negatives=0,2", "+data.languages=[en, de]", "trainer.bf16=false"]


def test_what_stands_in_the_command_is_not_swept():
    member = ["+experiment=vdr_tiny", "data.num_negatives=2", "+data.languages=[en,de]", "trainer.bf16=false"]
    assert swept(member, COMMAND) == {"data.num_negatives": "2"}
    # What hydra.sweeper.params and Optuna add stands in no command.
    assert swept([*member, "seed=1", "loss=mnrl"], COMMAND) == {
        "data.num_negatives": "2",
        "seed": "1",
        "loss": "mnrl",
    }
    # A value that was given for all as well is varied all the same.
    assert swept(["seed=1", "seed=1"], ["seed=1", "seed=1,2"]) == {"seed": "1"}


def test_values_are_those_that_yaml_would_read():
    given = {"seed": "1", "loss": "mnrl", "trainer.learning_rate": "1e-5", "freeze": "[vision,merger]", "a": "null"}
    assert values(given) == {
        "seed": 1,
        "loss": "mnrl",
        "trainer.learning_rate": 1e-5,
        "freeze": ["vision", "merger"],
        "a": None,
    }


def test_a_label_is_safe_as_a_folder():
    assert label({"trainer.learning_rate": "1e-5", "data.path": "~/my pages"}) == "lr=1e-5__data.path=-my-pages"
    assert label({}) == "default"


def test_where_and_how_it_runs_leaves_the_hash(tmp_path):
    moved = [
        "output_root=elsewhere",
        "launch=accelerate",
        "launch.num_processes=1",
        "tracking=none",
        "sweep.name=other",
        "hub.model_id=me/mine",
        "profile_steps=3",
        "evaluation.num_tokens=99",
        "seed=42",  # its default
    ]
    plain = identity(experiment_of(tmp_path, "+experiment=vdr_tiny"))
    assert identity(experiment_of(tmp_path, "+experiment=vdr_tiny", *moved)) == plain


def test_whatever_changes_a_result_changes_the_hash():
    cases = [
        [],
        ["seed=1"],
        ["trainer.learning_rate=2e-5"],
        ["data.num_negatives=2"],
        ["loss.mini_batch_num_tokens=99"],
        ["launch=accelerate", "launch.num_processes=2"],  # each has rows of its own in a batch
        ["loss=margin_mse", "model@loss.teacher=clip_vit_b32"],
        ["loss=contrastive"],
        ["loss=online_contrastive"],  # another loss with the same fields
    ]
    hashes = {identity(experiment_of(Path("x"), "+experiment=vdr_tiny", *overrides)) for overrides in cases}
    assert len(hashes) == len(cases)
    assert all(len(key) == 8 for key in hashes)
