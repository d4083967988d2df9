"""The dataframe that `reader()` returns: DataFusion's, with a short way for those who read it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datafusion
import pyarrow as pa

from ._lazy import LazyDataset

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class ReaderFrame(datafusion.DataFrame):
    """A `datafusion.DataFrame` of a query, nothing read yet.

    Operations (`select`, `filter`, `join`, SQL) are DataFusion's and give its dataframes. Reading this one whole takes the batches from
    the scan without a detour through an execution plan that does nothing: for wide tables that was a third of the time. Errors
    are those of the scan then, not wrapped.
    """

    def __init__(self, frame: datafusion.DataFrame, lazy: LazyDataset) -> None:
        super().__init__(frame.df)
        self._lazy = lazy

    def to_arrow_table(self) -> pa.Table:
        """Read everything into a table."""
        return self._lazy.to_table()

    def collect(self) -> list[pa.RecordBatch]:
        """Read everything as batches."""
        return list(self._lazy.to_batches())

    def count(self) -> int:
        """Count the rows; reads no more than is needed to know."""
        return self._lazy.count_rows()

    def to_pandas(self) -> pd.DataFrame:
        """Read everything into pandas."""
        return self._lazy.to_table().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """Read everything into Polars."""
        import polars

        frame = polars.from_arrow(self._lazy.to_table())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pylist(self) -> list[dict[str, Any]]:
        """Read everything into a list of rows."""
        rows: list[dict[str, Any]] = self._lazy.to_table().to_pylist()
        return rows

    def to_pydict(self) -> dict[str, list[Any]]:
        """Read everything into a dictionary of columns."""
        columns: dict[str, list[Any]] = self._lazy.to_table().to_pydict()
        return columns

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export as a stream of Arrow's C interface."""
        if requested_schema is not None:
            return super().__arrow_c_stream__(requested_schema)
        return self._lazy.__arrow_c_stream__()
