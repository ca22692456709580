"""What a run shows in the terminal beside its log: the config once as a tree, and the results as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from mmexp.recording.wording import number, p_value

if TYPE_CHECKING:
    from mmexp.evaluation.report import Metrics, Report

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

    With 95% intervals over queries, and whether a part shows a difference, corrected for all parts (Holm).
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    more_titles = [name.replace("_", " ") for name in final.shown]  # so that narrow terminals break them
    title = f"{metric} on the evaluation data, one seed, 95% intervals over queries"
    intervals, changes = _intervals(final, metric), _changes(baseline, final, metric)
    if len(changes) > 1:
        title += f", p corrected for {len(changes)} rows (Holm)"
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
        more = [number(metrics[name]) if name in metrics else "-" for name in final.shown]
        table.add_row(
            str(part), row[0], Text(row[1] + intervals.get(part, "")), Text(row[2] + changes.get(part, "")), *more
        )
    Console().print(table)


def _intervals(report: Report, metric: str) -> dict[Any, str]:
    """What follows the mean of each part; nothing where the queries' own scores are not known."""
    found = report.estimates(metric)
    return {part: f"\n[{estimate.low:.4f}, {estimate.high:.4f}]" for part, estimate in found.items()}


def _changes(baseline: Report | None, final: Report, metric: str) -> dict[Any, str]:
    """What follows the difference of each part to the baseline: p, interval, and whether it is one."""
    from mmexp.statistics.means import gains

    before = baseline.by_part(metric) if baseline else {}
    after = {part: sample for part, sample in final.by_part(metric).items() if part in before}
    found = gains([after[part] for part in after], [before[part] for part in after])
    return {
        part: f" {p_value(one.p_holm)}\n[{one.low:+.4f}, {one.high:+.4f}]\n{one.words}"
        for part, one in zip(after, found, strict=True)
    }
