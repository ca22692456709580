"""The arguments of `python -m mmexp.X` commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from mmexp.__main__ import complain


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
