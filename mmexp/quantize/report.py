"""What a quantisation leaves in RUN_DIR/quantization/."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.quantize.encoding import Encoded
from mmexp.quantize.recommendation import is_equal, is_non_inferior, recommended, surest
from mmexp.quantize.settings import Row
from mmexp.recording.environment import versions
from mmexp.recording.run_files import csv_of, finite, write_whole

FOLDER = "quantization"
MILLION = 1_000_000


@dataclass
class Quantization:
    """Every setting of one run, and the one to use."""

    run_dir: Path
    data_fingerprint: str
    encoded: Encoded
    rows: list[Row]
    margin: float
    rescore_multiplier: int

    @property
    def recommended(self) -> Row:
        return recommended(self.rows, self.margin)

    @property
    def surest(self) -> Row:
        return surest(self.rows, self.margin)

    def entry(self, row: Row) -> dict[str, Any]:
        """One setting, as quantization.json and quantization.csv have it."""
        setting, measured, to_full = row.setting, row.measured, row.to_full
        return {
            "dim": setting.dim,
            "precision": setting.precision,
            "rescored": setting.rescored,
            PRIMARY_METRIC: row.estimate.mean,
            "low": row.estimate.low,
            "high": row.estimate.high,
            "percent_of_full": row.percent_of_full,
            "delta": to_full and to_full.delta,
            "delta_low": to_full and to_full.low,
            "delta_high": to_full and to_full.high,
            "delta_lower_limit": row.lower_limit,
            "equal": is_equal(row),
            "non_inferior": is_non_inferior(row, self.margin),
            "recommended": row is self.recommended,
            "surest": row is self.surest,
            "bytes_per_document": measured.bytes_per_document,
            "bytes_per_million_documents": measured.bytes_per_document * MILLION,
            "seconds_per_query": measured.seconds_per_query,
        }

    def summary(self) -> dict[str, Any]:
        """quantization.json."""
        return {
            "primary_metric": PRIMARY_METRIC,
            "data_fingerprint": self.data_fingerprint,
            "num_queries": len(self.encoded.query_ids),
            "num_documents": len(self.encoded.document_ids),
            "similarity": self.encoded.similarity,
            "margin": self.margin,
            "rescore_multiplier": self.rescore_multiplier,
            "search": {"threads": 1, "processor": platform.machine(), "host": platform.node()},
            "recommended": self.entry(self.recommended),
            "surest": self.entry(self.surest),
            "settings": [self.entry(row) for row in self.rows],
            "versions": versions(),
        }

    def write(self) -> Path:
        """Write the files; return their folder. The figure is drawn by `figure.draw`."""
        folder = self.run_dir / FOLDER
        folder.mkdir(exist_ok=True)
        self._write_per_query(folder / "per_query.parquet")
        entries = [self.entry(row) for row in self.rows]
        write_whole(folder / "quantization.csv", csv_of(entries))
        write_whole(folder / "quantization.json", json.dumps(finite(self.summary()), indent=2, allow_nan=False))
        return folder

    def _write_per_query(self, file: Path) -> None:
        """A row per setting and query: the metric, and the documents found."""
        import pyarrow as pa
        from pyarrow import parquet

        ids, queries = self.encoded.document_ids, self.encoded.query_ids
        columns: dict[str, list[Any]] = {}
        for row in self.rows:
            setting = row.setting
            of_setting: dict[str, Sequence[Any]] = {
                "query_id": queries,
                "dim": [setting.dim] * len(queries),
                "precision": [setting.precision] * len(queries),
                "rescored": [setting.rescored] * len(queries),
                PRIMARY_METRIC: row.measured.scores.tolist(),
                "top": [[ids[document] for document in top] for top in row.measured.ranking.documents],
            }
            for name, values in of_setting.items():
                columns.setdefault(name, []).extend(values)
        parquet.write_table(pa.table(columns), file)
