"""`python -m mmexp.quantize RUN_DIR [--dims 1024,256] [--margin 0.01] [--rescore-multiplier 4]`: what smaller
embeddings of a finished run cost, and which to use. Writes RUN_DIR/quantization/ and prints the table.

RUN_DIR is that of an embedder. Its evaluation data is encoded once; what was encoded before is found again.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from mmexp.parser import Parser, ending_in_words
from mmexp.quantize.runs import open_run
from mmexp.schema import ConfigError


def main(arguments: list[str] | None = None) -> None:
    asked = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S")
    with ending_in_words():
        quantize(asked.run_dir, asked.dims, asked.margin, asked.rescore_multiplier)


def quantize(run_dir: Path, dims: list[int] | None, margin: float, rescore_multiplier: int) -> None:
    """Measure every size and precision of a run; write and print what came out."""
    composition, result = open_run(run_dir)

    from mmexp.quantize.encoding import encode
    from mmexp.quantize.figure import draw
    from mmexp.quantize.report import Quantization
    from mmexp.quantize.settings import compared, measure
    from mmexp.quantize.table import print_table

    encoded = encode(composition, result)
    sizes = chosen(dims, encoded.dims)
    rows = compared(measure(encoded, sizes, rescore_multiplier))
    found = Quantization(composition.run_dir, result["data_fingerprint"], encoded, rows, margin, rescore_multiplier)
    try:
        folder = found.write()
        draw(rows, found.recommended, margin, folder)
    except OSError as error:
        raise ConfigError(
            f"{run_dir} cannot be written to: {error}. Copy it to where you can, and give that."
        ) from error
    print_table(found)
    print(f"written to {folder}")


def chosen(dims: list[int] | None, evaluated: list[int]) -> list[int]:
    """The sizes to measure, from large to small, the full one among them: those asked for, or those of the run."""
    full = evaluated[0]
    if dims is None:
        return evaluated
    if wrong := [dim for dim in dims if not 1 <= dim <= full]:
        raise ConfigError(f"--dims {wrong[0]} is no size of embeddings that have {full} dimensions. Use 1 to {full}.")
    return sorted({full, *dims}, reverse=True)


def parser() -> Parser:
    """The command line."""
    made = Parser("mmexp.quantize", __doc__)
    made.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    made.add_argument(
        "--dims", type=sizes, metavar="D,D,...", help="embedding sizes; by default those that the run was evaluated at"
    )
    made.add_argument(
        "--margin",
        type=above_0,
        default=0.01,
        help="the loss of NDCG@10 that is bearable (default: 0.01)",
    )
    made.add_argument(
        "--rescore-multiplier",
        type=multiplier,
        default=4,
        metavar="N",
        help="how many pages are rescored for each of the 10 that are looked at (default: 4)",
    )
    return made


def sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes such as 1024,256") from None


def above_0(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no part of NDCG@10, such as 0.01")
    return value


def multiplier(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count, such as 4")
    return int(text)


if __name__ == "__main__":
    main()
