"""`python -m mmexp.mine [+experiment=NAME] [model=...] [data=...] [mine.key=value ...]`: mine hard negatives."""

from __future__ import annotations

import re
import sys

from mmexp.__main__ import complain, main
from mmexp.mine.settings import MiningExperiment


def refuse_a_sweep_of_settings(arguments: list[str]) -> None:
    """A folder, which is that of one model and data, has one file of negatives: the last of a sweep would be left."""
    swept = [argument for argument in arguments if re.match(r"mine\.\w+=[^\[{'\"]*,", argument)]
    if swept and {"-m", "--multirun"}.intersection(arguments):
        complain(
            f"{swept[0]} cannot be swept: all would be mined into the folder of the model and the data, each replacing "
            "the negatives before it. Mine once for each, with hydra.run.dir=FOLDER."
        )


if __name__ == "__main__":
    refuse_a_sweep_of_settings(sys.argv[1:])
    main(config_name="mine", experiment_class=MiningExperiment)
