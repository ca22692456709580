"""The comparison: settings ranked, each with its interval, its gain, its difference to a reference, and its cost.

For those who build on it: `Comparison.scores` gives the scores of a setting on the queries that are compared, at any
stage, part and metric; `statistics.estimates` and `differences` take many of those at once, as one resampling serves
them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmexp.compare.alignment import queries_of_all
from mmexp.compare.cost import Cost, cost_of
from mmexp.compare.notes import notes_on
from mmexp.compare.runs import Run
from mmexp.compare.settings import Scalar, Setting, axes, settings_of
from mmexp.recording.unreadable import UnreadableFile
from mmexp.schema import ConfigError, did_you_mean
from mmexp.statistics.means import Difference, Estimate, differences, estimates, gains
from mmexp.statistics.strata import Strata


@dataclass(frozen=True)
class Row:
    """One setting."""

    setting: Setting
    estimate: Estimate
    """After training."""

    baseline: Estimate | None
    """Before; None where it was not measured query by query, as with task=evaluate."""

    to_baseline: Difference | None
    to_reference: Difference | None
    """None for the reference itself."""

    cost: Cost


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    metric: str
    part: str | None
    """The embedding size, direction or number of documents reranked; None: the whole model of each."""

    rows: list[Row]
    """Best first."""

    reference: Row
    unfinished: list[Run]
    """All runs that have no scores to compare, with their status and error."""

    query_ids: tuple[str, ...]
    """The queries that are compared."""

    strata: Strata | None
    """Of those queries, for `statistics`: directions, or tasks and languages. None: all count alike."""

    axes: dict[str, list[Scalar]]
    """What was varied: {config key: its values, sorted}."""

    notes: list[str]
    """What a reader must know, a sentence each."""

    @property
    def has_several_seeds(self) -> bool:
        """Whether runs of any setting were pooled."""
        return any(row.estimate.num_seeds > 1 for row in self.rows)

    def scores(
        self, setting: Setting, stage: str, part: str | None = None, metric: str | None = None
    ) -> np.ndarray | None:
        """The scores of a setting on the queries that are compared, (seeds, queries); None where any is missing.

        `part` and `metric` are by default those of the comparison.
        """
        return scores_on(self.query_ids, setting, stage, part or self.part, metric or self.metric)


def compare(
    runs: Sequence[Run],
    reference: str | None = None,
    metric: str | None = None,
    part: str | None = None,
    on_common_queries: bool = False,
) -> Comparison:
    """Compare runs, those that are equal but for the seed as one setting.

    Args:
        runs: as `find_runs` gives them.
        reference: name or folder of a run, or label of a setting; by default the best.
        metric: a metric of the per-query scores; by default the primary one.
        part: one embedding size, direction or number of documents reranked; by default the whole model.
        on_common_queries: where the evaluation data differ, compare on the queries that all have.

    Raises `ConfigError` where nothing is finished, or what is cannot be compared.
    """
    finished = [run for run in runs if has_scores(run)]
    if not finished:
        raise _nothing_to_compare(runs, finished, part)
    metric = metric or primary_metric_of(finished)
    measured, unmeasured = _measured(finished, part, metric)
    unfinished = [run for run in runs if run not in finished] + unmeasured
    if not measured:
        raise _nothing_to_compare(unfinished, finished, part)
    query_ids = queries_of_all(measured, part, metric, on_common_queries)
    queries = _Queries.of(measured[0], query_ids, part, metric)
    rows = _ranked(_rows(settings_of(measured), queries))
    chosen = rows[0] if reference is None else find_reference(rows, reference)
    rows = _against(rows, chosen, queries, chosen_by_result=reference is None)
    found = Comparison(
        metric=metric,
        part=part,
        rows=rows,
        reference=next(row for row in rows if row.setting is chosen.setting),
        unfinished=unfinished,
        query_ids=query_ids,
        strata=queries.strata,
        axes=axes([row.setting for row in rows]),
        notes=[],
    )
    return replace(found, notes=notes_on(found, measured, chosen_by_result=reference is None))


def primary_metric_of(runs: Sequence[Run]) -> str:
    """That of all runs. Raises `ConfigError` where they have several."""
    if other := next((run for run in runs if run.primary_metric != runs[0].primary_metric), None):
        raise ConfigError(
            f"the primary metric of {runs[0].name} is {runs[0].primary_metric}, and that of {other.name} is "
            f"{other.primary_metric}. Say by which to compare: --metric {runs[0].primary_metric}"
        )
    return runs[0].primary_metric


def has_scores(run: Run) -> bool:
    """Whether it can be compared with others."""
    return run.status == "finished" and run.error is None


def scores_on(
    query_ids: tuple[str, ...], setting: Setting, stage: str, part: str | None, metric: str
) -> np.ndarray | None:
    """The scores of a setting on these queries: (seeds, queries); None where any is missing."""
    found = [run.scores(stage, part, metric) for run in setting.runs]
    chosen = [scores and scores.on(query_ids) for scores in found]
    values = [scores.values for scores in chosen if scores is not None]
    return np.stack(values) if len(values) == len(chosen) else None


@dataclass(frozen=True)
class _Queries:
    """What is compared."""

    query_ids: tuple[str, ...]
    part: str | None
    metric: str
    strata: Strata | None

    @classmethod
    def of(cls, run: Run, query_ids: tuple[str, ...], part: str | None, metric: str) -> _Queries:
        """The strata are those of any run that is compared, as all have these queries."""
        scores = run.scores("final", part, metric)
        of_queries = scores and scores.on(query_ids)
        return cls(query_ids, part, metric, of_queries.strata if of_queries else None)

    def scores(self, setting: Setting, stage: str) -> np.ndarray | None:
        return scores_on(self.query_ids, setting, stage, self.part, self.metric)


def _rows(settings: list[Setting], queries: _Queries) -> list[Row]:
    finals, baselines = ([queries.scores(setting, stage) for setting in settings] for stage in ("final", "baseline"))
    paired = [(final, before) for final, before in zip(finals, baselines, strict=True) if before is not None]
    ours, befores = [final for final, _ in paired if final is not None], [before for _, before in paired]
    of_finals = estimates([final for final in finals if final is not None], queries.strata)
    of_baselines = iter(estimates(befores, queries.strata))
    of_gains = iter(gains(ours, befores, queries.strata))
    rows = []
    for setting, estimate, before in zip(settings, of_finals, baselines, strict=True):
        gain = next(of_gains) if before is not None else None
        cost = cost_of(setting, gain.delta if gain else None)
        rows.append(Row(setting, estimate, next(of_baselines) if before is not None else None, gain, None, cost))
    return rows


def _ranked(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.estimate.mean)


def _against(rows: list[Row], reference: Row, queries: _Queries, chosen_by_result: bool) -> list[Row]:
    """The rows with their difference to the reference.

    The best was chosen by what is compared, so it is best by luck too: any two settings could have been compared.
    """
    samples = {row.setting: queries.scores(row.setting, "final") for row in rows}
    others = [row for row in rows if row is not reference]
    theirs = samples[reference.setting]
    assert theirs is not None
    ours = [sample for row in others if (sample := samples[row.setting]) is not None]
    num_pairs = len(rows) * (len(rows) - 1) // 2
    family_size = num_pairs if chosen_by_result else None
    found = iter(differences(ours, theirs, family_size, queries.strata))
    return [row if row is reference else replace(row, to_reference=next(found)) for row in rows]


def find_reference(rows: Sequence[Row], words: str) -> Row:
    """The row of the run or setting that is called so. Raises `ConfigError` where there is none."""
    by_name = {row.setting.label: row for row in rows}
    for row in rows:
        for run in row.setting.runs + row.setting.repeats:
            by_name |= {run.name: row, str(run.run_dir): row}
    found = by_name.get(words) or by_name.get(str(Path(words).resolve()))
    if found is None:
        raise ConfigError(
            f"--reference {words} is none of the finished runs that are compared.{did_you_mean(words, by_name)} Give "
            f"the folder of one, or what the table calls it, such as {rows[0].setting.label}."
        )
    return found


def _measured(finished: Sequence[Run], part: str | None, metric: str) -> tuple[list[Run], list[Run]]:
    """The runs with scores, and those without, which then say why."""
    measured, others = [], []
    for run in finished:
        try:
            is_measured = run.scores("final", part, metric) is not None
            run.scores("baseline", part, metric)
        except UnreadableFile as broken:
            others.append(run.without_scores(broken))
            continue
        if is_measured:
            measured.append(run)
        else:
            others.append(_unmeasured(run, part))
    return measured, others


def _unmeasured(run: Run, part: str | None) -> Run:
    if run.parts:
        return replace(run, error=f"it was not measured at {part}, only at {', '.join(run.parts)}")
    return replace(run, error="its result.json does not say what it was measured at: it has no scores by part")


def _nothing_to_compare(unfinished: Sequence[Run], finished: Sequence[Run], part: str | None) -> ConfigError:
    known = ", ".join(dict.fromkeys(name for run in finished for name in run.parts))
    if known and part is not None:
        return ConfigError(f"no run was measured at --part {part}. There is: {known}.")
    return ConfigError(f"none of {len(unfinished)} runs has finished with scores to compare: {_statuses(unfinished)}.")


def _statuses(runs: Sequence[Run]) -> str:
    words = [f"{run.name} {run.status}" + (f" ({run.error})" if run.error else "") for run in runs[:3]]
    return "; ".join(words) + ("; ..." if len(runs) > 3 else "")
