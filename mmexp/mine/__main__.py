"""`python -m mmexp.mine [+experiment=NAME] [model=...] [data=...] [mine.key=value ...]`: mine hard negatives."""

from __future__ import annotations

from mmexp.__main__ import main
from mmexp.mine.settings import MiningExperiment

if __name__ == "__main__":
    main(config_name="mine", experiment_class=MiningExperiment)
