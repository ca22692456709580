"""What a run shows in the terminal beside its log: the config once as a tree, and the results as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from mmexp.report import Metrics, Report

PART_TITLES = {"dim": "dimensions", "direction": "direction", "top_k": "documents reranked", "task": "task"}


def print_config(config: DictConfig) -> None:
    """Print the composed config as a tree."""
    from rich.console import Console
    from rich.tree import Tree

    root = Tree("config")

    def grow(tree: Tree, node: dict[str, Any]) -> None:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                grow(tree.add(key, style="bold"), value)
            else:
                tree.add(f"{key}: {value}", style="not bold")

    container = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    grow(root, {str(key): value for key, value in container.items()})
    Console(markup=False, highlight=False, soft_wrap=True).print(root)


def print_results(baseline: Report | None, final: Report, metric: str) -> None:
    """Print `metric` by part (embedding size, direction, ...), before and after, and what else the report shows."""
    from rich.console import Console
    from rich.table import Table

    more_titles = [name.replace("_", " ") for name in final.shown]  # so that narrow terminals break them
    title = f"{metric} on the evaluation data"
    table = Table(PART_TITLES[final.part], "baseline", "final", "delta", *more_titles, title=title)
    befores: Mapping[Any, Metrics] = baseline.metrics if baseline else {}
    for part, metrics in final.metrics.items():
        before = befores[part][metric] if baseline else None
        row = ["-", "-"] if before is None else [f"{before:.4f}", f"{metrics[metric] - before:+.4f}"]
        more = [readable(metrics[name]) if name in metrics else "-" for name in final.shown]
        table.add_row(str(part), row[0], f"{metrics[metric]:.4f}", row[1], *more)
    Console().print(table)


def readable(value: float) -> str:
    """A number with about four digits that count."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
