"""`python -m mmexp.compare PATH...`: which run is better, by how much, at what cost, and whether it is real."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mmexp.compare import report
from mmexp.compare.comparison import Comparison, compare
from mmexp.compare.files import write_files
from mmexp.compare.report.breakdowns import breakdown_by_setting
from mmexp.compare.runs import find_runs
from mmexp.compare.table import print_breakdown, print_comparison
from mmexp.parser import Parser, ending_in_words
from mmexp.schema import ConfigError
from mmexp.sweep.folder import INDEX

FOLDER = "comparison"
LEFT_AS_IT_WAS = (
    "00-comparison was left as it is: only a comparison without --reference, --metric and --part brings it up to date."
)


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison and write its folder. Exit code 2 and one line for what cannot be compared."""
    asked = parser().parse_args(arguments)
    with ending_in_words():
        compare_and_write(asked)


def compare_and_write(asked: argparse.Namespace) -> None:
    if asked.project is not None:
        compare_project(asked)
        return
    if not asked.paths:
        raise ConfigError("nothing to compare. Give folders of runs or sweeps, or --project NAME.")
    runs = find_runs(asked.paths)
    found = compare(runs, asked.reference, asked.metric, asked.part, asked.common_queries)
    show(found, asked, asked.output or folder_of(asked.paths))


def compare_project(asked: argparse.Namespace) -> None:
    """The runs of a Trackio project, those of each evaluation data by themselves.

    Its `00-comparison`, which all look at, is not made anew by a reference, metric or part that one asks for.
    """
    from mmexp.dashboard.refresh import compare_runs_of, refresh

    if asked.paths or asked.common_queries:
        raise ConfigError(
            "--project compares all runs of a project, those of each evaluation data by themselves. Leave out paths "
            "and --common-queries, or give the folders of runs in its place."
        )
    by_default = asked.reference is asked.metric is asked.part is None
    if by_default:
        found = refresh(asked.project)
    else:
        found, _ = compare_runs_of(asked.project, asked.reference, asked.metric, asked.part)
    folder = asked.output or Path(FOLDER)
    for data, comparison in found.comparisons.items():
        print(data)
        show(comparison, asked, folder if len(found.comparisons) == 1 else folder / re.sub(r"\W+", "-", data))
    for note in [*(f"{data}: {why}" for data, why in found.refused.items()), *found.notes]:
        print(f"- {note}")
    if not by_default:
        print(f"- {LEFT_AS_IT_WAS}")
    if not found.comparisons:
        raise ConfigError(f"project {asked.project}: none of its runs has finished with scores to compare.")


def show(found: Comparison, asked: argparse.Namespace, folder: Path) -> None:
    """Print a comparison, and write it into `folder`."""
    by_column = breakdown_by_setting(found, asked.by) if asked.by is not None else None
    print_comparison(found)
    if by_column is not None:
        print_breakdown(by_column)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_files(found, folder)
        report.write(found, folder, shows_pages=not asked.no_pages)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to: {error}. Choose another with --output.") from error
    print(f"written to {folder}")


def parser() -> Parser:
    """What can be asked for."""
    made = Parser("mmexp.compare", __doc__)
    made.add_argument("paths", nargs="*", metavar="PATH", help="run folders, sweep folders, folders of such, or globs")
    made.add_argument("--project", metavar="NAME", help="in place of paths: the runs of a project in Trackio")
    made.add_argument("--reference", metavar="RUN", help="a run's folder or name, or a setting's; default: the best")
    made.add_argument("--metric", help="of the per-query scores; default: the primary one, ndcg@10")
    made.add_argument("--part", help="one embedding size, direction or number of reranked documents; default: all")
    made.add_argument("--common-queries", action="store_true", help="on the queries that all have, if data differ")
    made.add_argument("--by", metavar="COLUMN", help="what the data says of its queries: language, document, ...")
    made.add_argument("--no-pages", action="store_true", help="leave the data unread: no pictures of pages")
    made.add_argument("--output", type=Path, metavar="DIR", help="default: comparison/, in a sweep's folder for one")
    return made


def folder_of(paths: list[str]) -> Path:
    """Of one sweep within its folder; else here."""
    return Path(paths[0]) / FOLDER if len(paths) == 1 and (Path(paths[0]) / INDEX).exists() else Path(FOLDER)


if __name__ == "__main__":
    main()
