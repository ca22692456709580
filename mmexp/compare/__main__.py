"""`python -m mmexp.compare PATH...`: which run is better, by how much, at what cost, and whether it is real."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmexp.__main__ import complain
from mmexp.compare.comparison import compare
from mmexp.compare.files import write_files
from mmexp.compare.runs import find_runs
from mmexp.compare.table import print_comparison
from mmexp.schema import ConfigError
from mmexp.sweep.folder import INDEX

FOLDER = "comparison"


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison and write its folder. Exit code 2 and one line for what cannot be compared."""
    asked = parser().parse_args(arguments)
    try:
        compare_and_write(asked)
    except ConfigError as error:
        complain(str(error))


def compare_and_write(asked: argparse.Namespace) -> None:
    runs = find_runs(asked.paths)
    found = compare(runs, asked.reference, asked.metric, asked.part, asked.common_queries)
    folder = asked.output or folder_of(asked.paths)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_files(found, folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to: {error}. Choose another with --output.") from error
    print_comparison(found)
    print(f"written to {folder}")


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    made = argparse.ArgumentParser("python -m mmexp.compare", description=__doc__)
    made.add_argument("paths", nargs="+", metavar="PATH", help="run folders, sweep folders, folders of such, or globs")
    made.add_argument("--reference", metavar="RUN", help="a run's folder or name, or a setting's; default: the best")
    made.add_argument("--metric", help="of the per-query scores; default: the primary one, ndcg@10")
    made.add_argument("--part", help="one embedding size, direction or number of reranked documents; default: all")
    made.add_argument("--common-queries", action="store_true", help="on the queries that all have, if data differ")
    made.add_argument("--output", type=Path, metavar="DIR", help="default: comparison/, in a sweep's folder for one")
    return made


def folder_of(paths: list[str]) -> Path:
    """Of one sweep within its folder; else here."""
    return Path(paths[0]) / FOLDER if len(paths) == 1 and (Path(paths[0]) / INDEX).exists() else Path(FOLDER)


if __name__ == "__main__":
    main()
