"""`python -m mmexp.resume RUN_DIR [key=value ...]`: continue a run from its newest checkpoint, in its own folder."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from mmexp.__main__ import main


def resume_arguments(run_dir: Path) -> list[str]:
    """The command line of the run in `run_dir`, continued: what it was started with, its folder, and `resume=true`."""
    overrides_file = run_dir / ".hydra" / "overrides.yaml"
    if not overrides_file.exists():
        sys.exit(f"mmexp: {run_dir} is no run folder: it has no .hydra/overrides.yaml. Give one such as multirun/A/B.")
    overrides = [str(override) for override in OmegaConf.load(overrides_file)]
    return [*overrides, f"hydra.run.dir={run_dir.resolve()}", "resume=true"]


def resume() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    main([*resume_arguments(Path(sys.argv[1])), *sys.argv[2:]])


if __name__ == "__main__":
    resume()
