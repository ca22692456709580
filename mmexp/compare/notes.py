"""What a reader of a comparison must know: what the numbers count, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmexp.compare.runs import Run
from mmexp.statistics.seeds import ENOUGH_TO_TELL

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row


def notes_on(comparison: Comparison, measured: Sequence[Run], chosen_by_result: bool) -> list[str]:
    """A sentence each."""
    return [
        *_on_intervals(comparison),
        *_on_seeds(comparison),
        *_on_families(comparison, chosen_by_result),
        *_on_data(comparison, measured),
        *_on_what_is_missing(comparison),
    ]


def _on_intervals(comparison: Comparison) -> Iterator[str]:
    yield f"Intervals are 95%, over {len(comparison.query_ids)} queries: bootstrap for means, paired for differences."
    yield (
        "p is two-sided: of signs by chance, query by query; with seeds, of a mean over both. d is Cohen's d_z of the "
        "differences of queries."
    )


def _on_seeds(comparison: Comparison) -> Iterator[str]:
    counts = [len(row.setting.runs) for row in comparison.rows]
    if max(counts) == 1:
        yield (
            "One seed each: spread over seeds is not counted, so another seed may rank them otherwise. Add seeds to a "
            "sweep with seed=1,2,3."
        )
        return
    yield (
        "Runs that differ by their seed alone are pooled: intervals and tests count both seeds and queries; ± is the "
        "standard deviation over seeds."
    )
    single = counts.count(1)
    has_enough = len(counts) - single >= ENOUGH_TO_TELL
    if single:
        counted = "counted as the others tell it" if has_enough else "not counted"
        yield f"{single} of {len(counts)} settings have one seed: their own spread over seeds is {counted}."
    if has_enough:
        yield (
            f"How much seeds matter, the {len(counts) - single} settings with several tell together, as far as they "
            "agree: should one be several times as noisy as the others, its own interval may be too narrow."
        )
    elif {2, 3} & set(counts):
        yield (
            "Two or three seeds of one or two settings tell little of the spread over seeds: intervals that count it "
            "are wide, and where seeds differ little they hold the truth in up to 99% of cases rather than 95%."
        )


def _on_families(comparison: Comparison, chosen_by_result: bool) -> Iterator[str]:
    num_settings, num_gains = len(comparison.rows), sum(row.to_baseline is not None for row in comparison.rows)
    if num_gains > 1 or num_settings > 2:
        yield (
            "The interval of a difference is of that one by itself, while p, and the words that go by it, are "
            "corrected for all: an interval that leaves 0 out may stand beside no difference shown."
        )
    if num_gains > 1:
        yield f"p of gains over the baseline is corrected (Holm) for {num_gains} comparisons."
    if num_settings > 2:
        if chosen_by_result:
            pairs = num_settings * (num_settings - 1) // 2
            yield (
                f"The reference is the best by these same scores, so p is corrected (Holm) for all {pairs} pairs. "
                "A reference named with --reference is corrected for fewer."
            )
        else:
            yield f"p against the reference is corrected (Holm) for {num_settings - 1} comparisons."


def _on_data(comparison: Comparison, measured: Sequence[Run]) -> Iterator[str]:
    if len({run.fingerprint for run in measured}) > 1:
        sizes = sorted({run.result.get("num_documents") or 0 for run in measured})
        corpora = " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
        yield (
            f"The evaluation data differ. Compared are the {len(comparison.query_ids)} queries that all have; the "
            f"documents that were searched ({corpora}) are not the same, which alone can move the scores."
        )


def _on_short_baselines(comparison: Comparison, row: Row) -> Iterator[str]:
    for run in row.setting.runs:
        scores = run.scores("baseline", comparison.part, comparison.metric)
        missing = len(set(comparison.query_ids).difference(scores.query_ids)) if scores else 0
        if scores and missing:
            yield (
                f"The baseline of {run.name} has {len(scores.query_ids)} queries and lacks {missing} of the "
                f"{len(comparison.query_ids)} that are compared, so {row.setting.label} is without a gain."
            )


def _on_what_is_missing(comparison: Comparison) -> Iterator[str]:
    for row in comparison.rows:
        for run in row.setting.repeats:
            yield f"{run.name} repeats a setting and seed of {row.setting.label}: the newest counts."
    without = []
    for row in (row for row in comparison.rows if row.baseline is None):
        short = [*_on_short_baselines(comparison, row)]
        yield from short
        without += [] if short else [row.setting.label]
    if without:
        yield f"Without scores of a baseline, so without a gain: {', '.join(without)}."
    if unfinished := len(comparison.unfinished):
        yield f"Not ranked, as they have no scores to compare: {unfinished} of the runs; they are listed apart."
