"""The arguments of `python -m mmexp.X` commands, and how these end."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from mmexp.__main__ import complain
from mmexp.processes.outcome import RunFailed
from mmexp.schema import ConfigError


class Parser(argparse.ArgumentParser):
    """Refuses in one line, with exit code 2, and takes options in any place among the other arguments."""

    def __init__(self, module: str, description: str | None) -> None:
        """`module` is what follows `python -m`, and `description` is printed as it is."""
        super().__init__(
            f"python -m {module}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        return self.parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        complain(f"{message}. U{self.format_usage()[1:]}")


@contextmanager
def ending_in_words() -> Iterator[None]:
    """What cannot be as asked ends the command with one line and exit code 2, a run that failed with its own words."""
    try:
        yield
    except ConfigError as error:
        complain(str(error))
    except RunFailed as failed:
        failed.end_with_its_words()
