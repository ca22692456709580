"""What is logged of a step that is only traced: nothing that a training on this machine would have to say."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Which attention this machine has, which device was chosen, that columns are not embedded together.
OF_A_TRAINING = ("mmexp.models.weights", "sentence_transformers")


@contextmanager
def quiet() -> Iterator[None]:
    """Within, loading and losses log errors alone."""
    loggers = [logging.getLogger(name) for name in OF_A_TRAINING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
