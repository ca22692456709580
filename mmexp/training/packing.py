"""Rows packed into batches in which no id occurs twice, and whose sizes divide by a number of ranks."""

from __future__ import annotations

RowIds = list[tuple[int, ...]]


def greedy_batches(order: list[int], row_ids: RowIds, batch_size: int) -> list[list[int]]:
    """Fill batches with rows in `order`. Rows that clash with the batch being filled go first into the next one."""
    batches: list[list[int]] = []
    waiting: list[int] = []
    position = 0
    while waiting or position < len(order):
        batch: list[int] = []
        used: set[int] = set()
        still_waiting: list[int] = []
        earlier = iter(waiting)
        while len(batch) < batch_size:
            row = next(earlier, None)
            if row is None:
                if position == len(order):
                    break
                row, position = order[position], position + 1
            if used.isdisjoint(row_ids[row]):
                used.update(row_ids[row])
                batch.append(row)
            else:
                still_waiting.append(row)
        waiting = still_waiting + list(earlier)
        batches.append(batch)
    return batches


def even_batches(order: list[int], row_ids: RowIds, batch_size: int, divisor: int) -> list[list[int]]:
    """`greedy_batches` whose sizes all divide by `divisor`, which divides `batch_size`.

    Rows that are too many in a batch are packed again; those that then still share ids with each other change places
    with rows of earlier batches, of which the largest are halved where there is no place for them. Fewer rows than
    `divisor` are left out; more only where ids are shared so much that no batches of `divisor` rows hold them all.
    """
    batches: list[list[int]] = []
    left, num_left = order, len(order) + 1
    while divisor <= len(left) < num_left:
        num_left = len(left)
        packed = greedy_batches(left, row_ids, batch_size)
        wholes = [len(batch) - len(batch) % divisor for batch in packed]
        batches += [batch[:whole] for batch, whole in zip(packed, wholes, strict=True) if whole]
        left = [row for batch, whole in zip(packed, wholes, strict=True) for row in batch[whole:]]
    while len(left) >= divisor:
        batch, left = _with_exchanges(left, batches, row_ids, divisor)
        if len(batch) == divisor:
            batches.append(batch)
        else:
            left = batch + left
            if not halve_largest(batches, divisor):
                break
    return batches


def halve_largest(batches: list[list[int]], divisor: int) -> bool:
    """Put two halves, whose sizes divide by `divisor`, in the place of the largest batch. False if it has none."""
    largest = max(range(len(batches)), key=lambda n: len(batches[n]), default=None)
    if largest is None or len(batches[largest]) < 2 * divisor:
        return False
    batch = batches[largest]
    half = len(batch) // divisor // 2 * divisor
    batches[largest : largest + 1] = [batch[:half], batch[half:]]
    return True


def _with_exchanges(
    left: list[int], batches: list[list[int]], row_ids: RowIds, size: int
) -> tuple[list[int], list[int]]:
    """A batch of `size` rows, or as many as can be found, and what is left."""
    left = list(left)
    batch: list[int] = []
    used: set[int] = set()
    used_by = [{value for row in other for value in row_ids[row]} for other in batches]
    while len(batch) < size:
        row = next((row for row in left if used.isdisjoint(row_ids[row])), None)
        if row is not None:
            left.remove(row)
        else:
            row = _exchange(left, batches, used_by, used, row_ids)
            if row is None:
                break
        batch.append(row)
        used.update(row_ids[row])
    return batch, left


def _exchange(
    left: list[int], batches: list[list[int]], used_by: list[set[int]], used: set[int], row_ids: RowIds
) -> int | None:
    """Put a row of `left` into one of the batches, in the place of one that has none of the ids in `used`."""
    for row in left:
        for batch, ids in zip(batches, used_by, strict=True):
            if not ids.isdisjoint(row_ids[row]):
                continue
            for place, other in enumerate(batch):
                if used.isdisjoint(row_ids[other]):
                    batch[place] = row
                    ids.difference_update(row_ids[other])
                    ids.update(row_ids[row])
                    left.remove(row)
                    return other
    return None
