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
    """Print `metric` by part (embedding size, direction, ...), before and after, and what else the report shows.

    With 95% intervals over queries, and whether each part by itself shows a difference.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    more_titles = [name.replace("_", " ") for name in final.shown]  # so that narrow terminals break them
    title = f"{metric} on the evaluation data, one seed, 95% intervals over queries"
    table = Table(PART_TITLES[final.part], "baseline", title=title)
    table.add_column("final", no_wrap=True)
    table.add_column("delta", no_wrap=True)
    for name in more_titles:
        table.add_column(name)
    befores: Mapping[Any, Metrics] = baseline.metrics if baseline else {}
    for part, metrics in final.metrics.items():
        before = befores[part][metric] if baseline else None
        row = ["-" if before is None else f"{before:.4f}", f"{metrics[metric]:.4f}"]
        row.append("-" if before is None else f"{metrics[metric] - before:+.4f}")
        interval, change = _significance(baseline, final, part, metric)
        more = [readable(metrics[name]) if name in metrics else "-" for name in final.shown]
        table.add_row(str(part), row[0], Text(row[1] + interval), Text(row[2] + change), *more)
    Console().print(table)


def _significance(baseline: Report | None, final: Report, part: Any, metric: str) -> tuple[str, str]:
    """What follows the mean, and its difference to the baseline: interval, p, and whether it is one; "" where the
    queries' own scores are not known."""
    from mmexp.compare.statistics import differences, estimates
    from mmexp.compare.table import p_words

    after, before = final.values(part, metric), baseline.values(part, metric) if baseline else None
    if after is None:
        return "", ""
    [estimate] = estimates([after[None]])
    interval = f"\n[{estimate.low:.4f}, {estimate.high:.4f}]"
    if before is None:
        return interval, ""
    [found] = differences([after[None]], [before[None]])
    return interval, f" {p_words(found.p)}\n[{found.low:+.4f}, {found.high:+.4f}]\n{found.words}"


def readable(value: float) -> str:
    """A number with about four digits that count."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
