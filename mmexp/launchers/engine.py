"""The engine of a distributed run, as accelerate's own configuration file describes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING

from mmexp.recording.run_files import write_whole
from mmexp.schema import ConfigError, did_you_mean, schema

# In a wheel, launch/ lies inside the package; in a checkout, beside it.
PACKAGE = Path(__file__).parents[1]
LAUNCH = next(folder for folder in (PACKAGE / "launch", PACKAGE.parent / "launch") if folder.is_dir())
FILES = LAUNCH / "accelerate"
OURS = sorted(file.name for file in FILES.glob("*.yaml"))
OWN_FILE = "accelerate.yaml"
KINDS = {"MULTI_GPU": "ddp", "DEEPSPEED": "zero", "FSDP": "fsdp"}


@schema("launch/accelerate", "engine")
@dataclass
class Engine:
    """Config group `launch/accelerate`."""

    config_file: str = MISSING
    """A file of launch/accelerate/ by name, such as zero2.yaml, or one's own by path, as `accelerate config` writes."""

    own: str | None = None
    """The text of one's own file, read from it when the run is composed: all processes start with that, now and when
    the run is continued, whatever happens to the file. Not to be given."""

    cpu_offload: bool = False
    """Keep optimizer states (zero1, zero2), and weights too (zero3, fsdp2), in the memory of the CPU."""

    def __post_init__(self) -> None:
        file = Path(self.config_file).expanduser()
        if self.own is None and not self.is_ours and file.is_file():
            self.config_file = str(file.resolve())
            self.own = self._read(file)

    @property
    def is_ours(self) -> bool:
        """Whether the file is one of launch/accelerate/."""
        return self.config_file in OURS

    def file(self, run_dir: Path) -> Path:
        """Where accelerate finds the file: one's own is written into the run folder."""
        if self.own is None:
            return FILES / self.config_file
        write_whole(run_dir / OWN_FILE, self.own)
        return run_dir / OWN_FILE

    @cached_property
    def content(self) -> dict[str, Any]:
        """The file, read. Raises `ConfigError` where there is none, or none of accelerate's."""
        if self.own is None and not self.is_ours:
            raise ConfigError(
                f"launch.accelerate.config_file={self.config_file} is no file.{did_you_mean(self.config_file, OURS)} "
                f"Use launch/accelerate={'|'.join(Path(name).stem for name in OURS)}, or the path of your own file."
            )
        try:
            content = yaml.safe_load(self.own or (FILES / self.config_file).read_text())
        except yaml.YAMLError as error:
            raise ConfigError(f"launch.accelerate.config_file={self.config_file} cannot be read: {error}") from error
        if not isinstance(content, dict) or "distributed_type" not in content:
            raise ConfigError(
                f"launch.accelerate.config_file={self.config_file} is no file of accelerate: it has no "
                "distributed_type. Write one with: accelerate config --config_file FILE"
            )
        return content

    @property
    def kind(self) -> str:
        """ddp, zero1, zero2, zero3 or fsdp2. Raises `ConfigError` for what starts no such engine."""
        named = str(self.content["distributed_type"])
        if named == "FSDP" and self._section("fsdp_config").get("fsdp_version") != 2:
            raise ConfigError(
                f"launch.accelerate.config_file={self.config_file} asks for FSDP version 1, which cannot save a model. "
                "Write `fsdp_version: 2` into its fsdp_config, or use launch/accelerate=fsdp2."
            )
        if named not in KINDS:
            raise ConfigError(
                f"launch.accelerate.config_file={self.config_file} says distributed_type: {named}, which would start a "
                "single process. Write MULTI_GPU, DEEPSPEED or FSDP, also without a GPU, or use launch/accelerate=ddp."
            )
        if "deepspeed_config_file" in self._section("deepspeed_config"):
            raise ConfigError(
                f"launch.accelerate.config_file={self.config_file} names a deepspeed_config_file, which hides what "
                "it asks for. Write zero_stage and the other keys into deepspeed_config itself."
            )
        level = {"DEEPSPEED": self._section("deepspeed_config").get("zero_stage", 2), "FSDP": 2}
        return KINDS[named] + str(level.get(named, ""))

    @property
    def num_processes(self) -> int | None:
        """What the file says; None where it leaves it to `launch.num_processes`."""
        return self.content.get("num_processes")

    def check(self, processes: int, has_gpus: bool, machines: int = 1) -> None:
        """Raise `ConfigError` where the file contradicts `launch`, or the machine cannot do what it says."""
        for key, launched in (("num_processes", processes), ("num_machines", machines)):
            if self.content.get(key, launched) != launched:
                raise ConfigError(
                    f"launch.accelerate.config_file={self.config_file} says {key}: {self.content[key]}, and launch "
                    f"says {launched}. Take it out of the file, or "
                    + ("use launch=slurm for several nodes." if key == "num_machines" else "give the same number.")
                )
        if self.content.get("mixed_precision", "no") != "no":
            raise ConfigError(
                f"launch.accelerate.config_file={self.config_file} says mixed_precision: "
                f"{self.content['mixed_precision']}, which trainer.bf16 decides. Take it out of the file."
            )
        if self.kind == "fsdp2" and not has_gpus:
            raise ConfigError("launch/accelerate=fsdp2 needs GPUs, and none is visible. Use launch/accelerate=zero3.")
        if self.cpu_offload and self.kind == "ddp":
            raise ConfigError(
                "launch.accelerate.cpu_offload=true cannot be with DDP, which keeps all on the GPU. Use "
                "launch/accelerate=zero2 (optimizer states) or zero3 (weights too)."
            )

    def arguments(self, run_dir: Path) -> list[str]:
        """What `accelerate launch` takes of it."""
        arguments = ["--config_file", str(self.file(run_dir))]
        if self.cpu_offload and self.kind == "fsdp2":
            arguments += ["--fsdp_offload_params", "true"]
        elif self.cpu_offload:
            arguments += ["--offload_optimizer_device", "cpu"]
            arguments += ["--offload_param_device", "cpu"] if self.kind == "zero3" else []
        return arguments

    def environment(self, has_gpus: bool) -> dict[str, str]:
        """What makes processes of it that compute on the CPU where there is no GPU."""
        if has_gpus:
            return {}
        return {"DS_ACCELERATOR": "cpu"} if self.kind.startswith("zero") else {"ACCELERATE_USE_CPU": "true"}

    def _read(self, file: Path) -> str:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"launch.accelerate.config_file={self.config_file} cannot be read: {error}") from error

    def _section(self, name: str) -> dict[str, Any]:
        return self.content.get(name) or {}
