"""Examples as arrays: checked, so that an error names the place, and scaled.

Rows are samples. Files are read by files.py.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.generator import permutation

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]
SPLIT = 1 << 40  # the random stream of splitting: far from those of any epoch
Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

NORMAL = 1.349  # the quartiles of a normal distribution lie that many deviations apart


class DataError(ValueError):
    """Input that cannot be learned from: the message names the file or argument, the place, and the likely remedy."""


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Return value as an int of low..high."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} must be a whole number; got {value!r}") from None
    if not low <= number <= high or isinstance(value, bool):
        ends = f"{low} to {high}" if high <= 2**16 else f"{low} or more"
        raise ValueError(f"{name} must be a whole number of {ends}; got {value!r}")
    return number


def check_threads(n_threads: object) -> int:
    """Return the most threads that may be used, an int of 1..1024."""
    return check_integer("n_threads", n_threads, 1, 1024)


def check_number(name: str, value: object, low: float, high: float, ends: str = "[]") -> float:
    """Return value as a float between low and high; `ends` says which of the two it may be itself, as in [0, 1)."""
    number = np.nan
    if not isinstance(value, bool | str | bytes | None):
        with contextlib.suppress(TypeError, ValueError):
            number = float(value)  # type: ignore[arg-type]
    if (low < number < high) or (number == low and ends[0] == "[") or (number == high and ends[1] == "]"):
        return number
    above = "" if low == -np.inf else f", {low:g} or more" if ends[0] == "[" else f", above {low:g}"
    below = "" if high == np.inf else f", {high:g} or less" if ends[1] == "]" else f", below {high:g}"
    raise ValueError(f"{name} must be a finite number{above}{below}; got {value!r}")


def check_flag(name: str, value: object) -> bool:
    """Return value, which must be True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def check_finite(
    values: Array, name: str, columns: Sequence[str] | None = None, dtype: np.dtype[Any] | None = None
) -> None:
    """Refuse NaN, infinity, and what is beyond the range of dtype, naming the first one's row and column."""
    if values.dtype.kind != "f" or not values.size:
        return
    narrow = values.dtype if dtype is None else dtype
    largest = float(np.finfo(narrow).max)
    if max(float(values.max()), -float(values.min())) <= largest:  # false for NaN, too
        return
    with np.errstate(invalid="ignore"):
        place = tuple(int(i) for i in np.argwhere(~(np.abs(values) <= largest))[0])
    column = f", column {columns[place[1]] if columns else place[1]}" if len(place) > 1 else ""
    found = values[place]
    if np.isfinite(found):
        remedy = f"which {narrow} cannot hold. Use other units, or dtype='float64'"
        raise DataError(
            f"{name} must hold numbers up to {largest:.1e}; found {found} at row {place[0]}{column}, {remedy}"
        )
    raise DataError(
        f"{name} must hold finite numbers; found {'NaN' if np.isnan(found) else found} at row {place[0]}{column}. "
        f"Remove or fill such rows first"
    )


def check_lengths(X: Any, y: Any, x_name: str = "X", y_name: str = "y") -> None:
    """Refuse rows and labels that are not as many."""
    if len(X) != len(y):
        raise DataError(f"{y_name} must have one row for each of the {len(X)} rows of {x_name}; found {len(y)}")


def check_unmasked(values: object, name: str) -> None:
    """Refuse masked values, of which NumPy would return what is below the mask."""
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        place = [int(i) for i in np.argwhere(values.mask)[0]]
        raise DataError(f"{name} must have no masked values; found one at {place}. Remove or fill such rows first")


def listed(values: Sequence[object], most: int) -> str:
    """Return values as a sentence names them, so many at the most."""
    return ", ".join([*map(str, values[:most]), *["..."] * (len(values) > most)])


def as_numbers(values: npt.ArrayLike, name: str) -> Array:
    """Return values as an array of numbers; text and what is masked are refused with their place."""
    check_unmasked(values, name)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "fiub":
            return array
        if array.dtype.kind in "Mm":
            raise DataError(
                f"{name} must hold numbers; found dates or times, {array.dtype}. Count them from some time on, as "
                f"({name} - {name}.min()) / np.timedelta64(1, 'D')"
            )
        if array.dtype.kind == "c":
            raise DataError(f"{name} must hold real numbers. Complex data not supported; found dtype {array.dtype}")
        return np.asarray(array, dtype=np.float64)
    except DataError:
        raise
    except (TypeError, ValueError):
        rows = list(values) if isinstance(values, Sequence | np.ndarray) else [values]
        lengths = [len(row) if isinstance(row, list | tuple | np.ndarray) else 0 for row in rows]
        for row, length in enumerate(lengths):
            if length != lengths[0]:
                raise DataError(
                    f"{name} must hold rows of equal length; row 0 has {lengths[0]} numbers, row {row} has {length}"
                ) from None
        for place, value in np.ndenumerate(np.asarray(values, dtype=object)):
            try:
                float(value)
            except (TypeError, ValueError):
                column = f", column {place[1]}" if len(place) > 1 else ""
                where = f"row {place[0]}{column}" if place else "its only place"
                raise DataError(f"{name} must hold numbers; found {value!r} at {where}") from None
        raise DataError(f"{name} must hold numbers; found {type(values).__name__}") from None


def as_rows(X: npt.ArrayLike, name: str, columns: int, dtype: np.dtype[Any]) -> Array:
    """Return X (n, d) in place where its type allows: uint8 and float stay, other numbers become dtype."""
    rows = as_numbers(X, name)
    if rows.ndim == 1 and rows.shape[0] == columns:
        rows = rows[None, :]
    if rows.ndim != 2 or rows.shape[1] != columns:
        has = f"{columns} input{'s' * (columns != 1)}"
        raise DataError(f"{name} must have shape (n, {columns}), as the network has {has}; got {rows.shape}")
    if rows.dtype not in (np.uint8, np.float32, np.float64):
        rows = rows.astype(dtype)
    check_finite(rows, name, dtype=dtype)
    if not rows.dtype.isnative:
        rows = rows.astype(rows.dtype.newbyteorder("="))
    return rows if rows.flags.aligned else rows.copy()  # a field of packed records


def as_labels(L: npt.ArrayLike, name: str, rows: int, outputs: int, dtype: np.dtype[Any], per_label: int = 1) -> Floats:
    """Return labels as (n, k) numbers: given so, or (n,) of numbers for one label, of classes 0..k-1 for several."""
    labels = as_numbers(L, name)
    if labels.ndim == 0 or len(labels) != rows:
        raise DataError(f"{name} must have one row for each of the {rows} rows of X; got shape {labels.shape}")
    check_known(labels, name, dtype)
    k = outputs // per_label
    if labels.ndim == 1 and k > 1:
        return one_hot(labels, name, k, dtype)
    if labels.ndim == 1:
        labels = labels[:, None]
    if labels.shape != (rows, k):
        has = f"{outputs} output{'s' * (outputs != 1)}" + f", {per_label} for each label" * (per_label != 1)
        raise DataError(f"{name} must have shape ({rows}, {k}), as the network has {has}; got {labels.shape}")
    return np.ascontiguousarray(labels, dtype=dtype)


def check_known(labels: Array, name: str, dtype: np.dtype[Any] | None = None) -> None:
    """Refuse what check_finite refuses, but for NaN among several labels of a row: these are missing."""
    several = labels.dtype.kind == "f" and labels.ndim == 2 and labels.shape[1] > 1
    missing = np.isnan(labels) if several else np.zeros(1, dtype=bool)
    check_finite(np.where(missing, 0, labels) if missing.any() else labels, name, dtype=dtype)


def alone(labels: Floats, column: int | None) -> Floats:
    """Return labels of which one column is known, the others missing; all of them where none is named."""
    if column is None:
        return labels
    only = np.full_like(labels, np.nan)
    only[:, column] = labels[:, column]
    return only


def one_hot(labels: Array, name: str, classes: int, dtype: npt.DTypeLike) -> Floats:
    """Return (n, classes): a 1 in the column of each row's class."""
    bad = (labels != np.floor(labels)) | (labels < 0) | (labels >= classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{name} must hold classes 0..{classes - 1}; found {labels[row]} at row {row}")
    encoded = np.zeros((len(labels), classes), dtype=dtype)
    encoded[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return encoded


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


def set_aside(rows: int, share: float, seed: int, classes: Array | None = None) -> tuple[Indices, Indices]:
    """Numbers of the rows to keep and of a random share to set aside; from each class alike, and never its last row."""
    order = permutation(seed, SPLIT, rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
        first = np.r_[True, classes[order][1:] != classes[order][:-1]]  # of each class; it stays
        order = np.r_[order[first], order[~first]]
        free = rows - int(first.sum())
    else:
        free = rows - 1
    wanted = min(max(1, round(share * rows)), free)
    if wanted < 1:
        raise DataError(f"X has n_samples={rows}, too few to set any aside: one of each class must stay")
    # evenly along the rows in order of their class, so that each class gives its share
    chosen = rows - free + ((np.arange(wanted) + 0.5) * free / wanted).astype(np.intp)
    kept = np.ones(rows, dtype=bool)
    kept[chosen] = False
    return np.sort(order[kept]), np.sort(order[~kept])


@dataclass
class Scale:
    """x → (x − mean) / deviation, column by column; a constant column is only shifted."""

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    @classmethod
    def of(cls, values: Array, weight: Array | None) -> Scale:
        """Return the scale of values (n, d), rows weighted; of those that are not NaN, where some are."""
        if values.dtype.kind == "f" and np.isnan(values).any():
            each = []
            for x in values.T:
                known = ~np.isnan(x)
                each.append(cls.of(x[known, None], None if weight is None else weight[known]))
            return cls(np.concatenate([s.mean for s in each]), np.concatenate([s.deviation for s in each]))
        largest = np.abs(values).max(axis=0, initial=0.0).astype(np.float64)
        size = np.where(largest > 0, largest, 1.0)  # so that no square leaves the range of numbers
        mean = size * np.average(values / size, axis=0, weights=weight)
        deviation = size * np.sqrt(np.average(((values - mean) / size) ** 2, axis=0, weights=weight))
        negligible = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)  # a constant, up to rounding
        return cls(mean, np.where(negligible, 1.0, deviation))

    @classmethod
    def robust(cls, values: Array, weight: Array | None) -> Scale:
        """Return the median, and the deviation by the quartiles, as if normally distributed; rows of weight 0 left out.

        Of a column whose quartiles are equal it is that of `of`.
        """
        scale, kept = cls.of(values, weight), values if weight is None else values[weight > 0]
        low, middle, high = np.nanquantile(kept.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
        wide = high - low > 0
        return cls(np.where(wide, middle, scale.mean), np.where(wide, (high - low) / NORMAL, scale.deviation))

    def apply(self, values: Array, dtype: npt.DTypeLike) -> Array:
        """Return values (n, d), scaled."""
        return ((values - self.mean) / self.deviation).astype(dtype)

    def undo(self, values: Array) -> npt.NDArray[np.float64]:
        """Return scaled values (n, d) in their own units."""
        return np.asarray(values.astype(np.float64) * self.deviation + self.mean)
