"""What each engine needs on CPUs, where several of them are off by default."""

from __future__ import annotations

import json
import os
from pathlib import Path

ENGINES = ("ddp", "zero1", "zero2", "zero3", "fsdp2")

# Whatever the engine. accelerate would take NCCL where a GPU is visible.
TRAINING_ARGUMENTS = {"ddp_backend": "gloo"}


def enter(engine: str, folder: Path) -> None:
    """Make this process, which has a rank, one of the engine's: as `accelerate launch` does it, by the environment."""
    if engine == "ddp":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    elif engine == "fsdp2":
        os.environ.update(FSDP2)
        _turn_on_fsdp2()
    else:
        file = folder / "deepspeed.json"
        file.write_text(json.dumps(_deepspeed_config(stage=int(engine.removeprefix("zero")))))
        os.environ.update(ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_CONFIG_FILE=str(file))
        _without_compiler()


def _deepspeed_config(stage: int) -> dict[str, object]:
    return {
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def _without_compiler() -> None:
    """DeepSpeed's operator for shared memory would be compiled first, which takes a minute."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_TORCH_DEVICE": "cpu",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def _turn_on_fsdp2() -> None:
    """accelerate has FSDP for accelerators only: it is told that these processes are some."""
    from accelerate.state import DistributedType, PartialState

    PartialState._prepare_backend = lambda self, *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
