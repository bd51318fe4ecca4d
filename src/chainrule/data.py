"""Examples as arrays: checked, so that an error names the place, and scaled.

Rows are samples. Files are read by files.py.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating]


class DataError(ValueError):
    """Input that cannot be learned from: the message names the file or argument, the place, and the likely remedy."""


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Return value as an int of low..high."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} must be a whole number; got {value!r}") from None
    if not low <= number <= high or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of {low} to {high}; got {value!r}")
    return number


def check_finite(values: Array, name: str, columns: Sequence[str] | None = None) -> None:
    """Refuse NaN and infinity, naming the first one's row and column."""
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()) or np.isfinite(values).all():  # the sum is finite only if all are; it may overflow
            return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
    column = f", column {columns[place[1]] if columns else place[1]}" if len(place) > 1 else ""
    found = values[place]
    raise DataError(
        f"{name} must hold finite numbers; found {'NaN' if np.isnan(found) else found} at row {place[0]}{column}. "
        f"Remove or fill such rows first"
    )


def as_numbers(values: npt.ArrayLike, name: str) -> Array:
    """Return values as an array of numbers; text is refused with its place."""
    array = np.asarray(values)
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind == "c":
        raise DataError(f"{name} must hold real numbers. Complex data not supported; found dtype {array.dtype}")
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        for place, value in np.ndenumerate(np.asarray(values, dtype=object)):
            if isinstance(value, list | tuple | np.ndarray):
                raise DataError(
                    f"{name} must hold rows of equal length; row {place[0]} has {len(value)} numbers"
                ) from None
            try:
                float(value)
            except (TypeError, ValueError):
                column = f", column {place[1]}" if len(place) > 1 else ""
                where = f"row {place[0]}{column}" if place else "its only place"
                raise DataError(f"{name} must hold numbers; found {value!r} at {where}") from None
        raise DataError(f"{name} must hold numbers; found dtype {array.dtype}") from None


def as_rows(X: npt.ArrayLike, name: str, columns: int, dtype: np.dtype[Any]) -> Array:
    """Return X (n, d) in place where its type allows: uint8 and float stay, other numbers become dtype."""
    rows = as_numbers(X, name)
    if rows.ndim == 1 and rows.shape[0] == columns:
        rows = rows[None, :]
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise DataError(f"{name} must have shape (n, {columns}), as the network has {columns} inputs; got {rows.shape}")
    if rows.dtype not in (np.uint8, np.float32, np.float64):
        rows = rows.astype(dtype)
    check_finite(rows, name)
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def as_labels(L: npt.ArrayLike, name: str, rows: int, outputs: int, dtype: np.dtype[Any]) -> Floats:
    """Return labels as (n, k) numbers: given so, or (n,) of numbers for one output, of classes 0..k-1 for several."""
    labels = as_numbers(L, name)
    if labels.ndim == 0 or len(labels) != rows:
        raise DataError(f"{name} must have one row for each of the {rows} rows of X; got shape {labels.shape}")
    check_finite(labels, name)
    if labels.ndim == 1 and outputs > 1:
        return one_hot(labels, name, outputs, dtype)
    if labels.ndim == 1:
        labels = labels[:, None]
    if labels.shape != (rows, outputs):
        raise DataError(
            f"{name} must have shape ({rows}, {outputs}), as the network has {outputs} outputs; got {labels.shape}"
        )
    return np.ascontiguousarray(labels, dtype=dtype)


def one_hot(labels: Array, name: str, classes: int, dtype: npt.DTypeLike) -> Floats:
    """Return (n, classes): a 1 in the column of each row's class."""
    bad = (labels != np.floor(labels)) | (labels < 0) | (labels >= classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{name} must hold classes 0..{classes - 1}; found {labels[row]} at row {row}")
    return np.eye(classes, dtype=dtype)[labels.astype(np.intp)]


def as_weights(sample_weight: npt.ArrayLike | None, rows: int, dtype: np.dtype[Any]) -> Floats | None:
    """Return weights (n,) scaled to mean 1; None where there are none."""
    if sample_weight is None:
        return None
    weight = as_numbers(sample_weight, "sample_weight").astype(np.float64)
    if weight.shape != (rows,):
        raise DataError(f"sample_weight must have shape ({rows},); got {weight.shape}")
    check_finite(weight, "sample_weight")
    if (weight < 0).any():
        raise DataError(f"sample_weight must be 0 or more; found {weight.min()} at row {int(weight.argmin())}")
    if weight.sum() == 0:
        raise DataError("Sample weights must contain at least one non-zero number.")  # scikit-learn's words
    scaled: Floats = (weight / weight.mean()).astype(dtype)
    return scaled


@dataclass
class Scale:
    """x → (x − mean) / deviation, column by column; a constant column is only shifted."""

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    @classmethod
    def of(cls, values: Array, weight: Array | None) -> Scale:
        """Return the scale of values (n, d), rows weighted."""
        largest = np.abs(values).max(axis=0, initial=0.0).astype(np.float64)
        size = np.where(largest > 0, largest, 1.0)  # so that no square leaves the range of numbers
        mean = size * np.average(values / size, axis=0, weights=weight)
        deviation = size * np.sqrt(np.average(((values - mean) / size) ** 2, axis=0, weights=weight))
        negligible = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)  # a constant, up to rounding
        return cls(mean, np.where(negligible, 1.0, deviation))

    def apply(self, values: Array, dtype: npt.DTypeLike) -> Array:
        """Return values (n, d), scaled."""
        return ((values - self.mean) / self.deviation).astype(dtype)

    def undo(self, values: Array) -> npt.NDArray[np.float64]:
        """Return scaled values (n, d) in their own units."""
        return np.asarray(values.astype(np.float64) * self.deviation + self.mean)
