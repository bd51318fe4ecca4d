"""Rows: how what a user gives, arrays, frames or images, becomes what networks are given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import validate_data

from chainrule import data, images
from chainrule.data import Array, DataError
from chainrule.images import Augmentation
from chainrule.inputs import Inputs
from chainrule.tables import is_frame, read_table

FLOATING = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True)
class Rows:
    """What was learned of the rows of X, and how others like them are read."""

    inputs: Inputs | None = None  # of the columns; None where rows enter as they are
    shape: tuple[int, ...] | None = None  # of images
    span: tuple[float, float] | None = None  # what grey levels lie between

    @classmethod
    def of_images(cls, X: Any, checked: Any, augment: Augmentation | None, choosing: bool) -> Self | None:
        """Return how images are read, where X holds such; `choosing`: its values may say so. Else None."""
        if not isinstance(X, np.ndarray):
            if augment is None and not (choosing and images.side_of(checked.shape[1])):
                return None  # a frame is not copied for nothing
            X = np.asarray(checked)
        shape = None
        if augment is not None:
            shape = augment.shape or (X.shape[1:] if X.ndim > 2 else None)
            shape = replace(augment, shape=shape).for_rows(int(np.prod(X.shape[1:]))).shape
        elif X.ndim > 2 or choosing:
            shape = images.shape_of(X)
        if shape is not None:
            return cls(None, shape, images.span_of(X))
        grey = X.dtype == np.uint8 and isinstance(checked, np.ndarray) and checked.shape[1] >= images.SMALLEST**2
        return cls(span=images.BYTES) if grey and images.span_of(X) == images.BYTES else None

    @classmethod
    def learn(cls, checked: Any, scaling: str, weight: Array | None) -> tuple[Self, Array]:
        """Return how the columns of a table are read, and the table."""
        table, columns = read_table(checked, "X")
        plain = isinstance(checked, np.ndarray) and checked.dtype.kind in "fiub" and not np.isnan(table).any()
        if plain and scaling == "none":
            return cls(), checked if checked.dtype in FLOATING else table
        return cls(Inputs.learn(columns, table, scaling, weight)), table

    def read(self, checked: Any, name: str = "X") -> Array:
        """Return the table of checked rows: numbers, as the inputs or the network take them."""
        if self.inputs is not None:
            if self.inputs.plain and isinstance(checked, np.ndarray) and checked.dtype in FLOATING:
                return checked
            return read_table(checked, name, self.inputs.columns)[0]
        if self.shape is not None or self.span is not None:
            pixels = data.as_numbers(checked, name)
            data.check_finite(pixels, name)
            if self.span is not None:
                return images.as_levels(pixels, self.span, name)
            return pixels if pixels.dtype in FLOATING else pixels.astype(np.float64)
        table, columns = read_table(checked, name)
        data.check_finite(table, name)
        if {column.kind for column in columns} - {"number", "boolean"}:
            raise DataError(f"{name} must hold numbers, as what was learned from")
        return checked if isinstance(checked, np.ndarray) and checked.dtype in FLOATING else table

    def encoded(self, table: Array, dtype: str) -> Array:
        """Return what one network, of a named solver, is given."""
        return table if self.inputs is None else self.inputs.encode(table, dtype=dtype)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold of it: everything."""
        return {
            "span": None if self.span is None else list(self.span),
            "images": None if self.shape is None else [int(n) for n in self.shape],
            "inputs": None if self.inputs is None else self.inputs.to_json(),
        }

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Self:
        """Return what `to_json` described; ValueError where it did not."""
        inputs = None if described["inputs"] is None else Inputs.from_json(described["inputs"])
        shape = None if described["images"] is None else tuple(int(n) for n in described["images"])
        if described["span"] is None:
            return cls(inputs, shape)
        low, high = (float(end) for end in described["span"])
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"grey levels of {low} to {high}")
        return cls(inputs, shape, (low, high))


def check_form(X: Any, name: str) -> None:
    """Refuse tables in a form that has no rows and columns yet, and say how it gets them."""
    found, remedy = "", "Make a frame of it: pandas.DataFrame(...)"
    if type(X) is dict:  # some sparse matrices are dicts, too
        found = "a dict"
    elif isinstance(X, list | tuple) and X and isinstance(X[0], dict):
        found = "a list of dicts"
    elif isinstance(X, np.ndarray) and X.dtype.names:
        found = "an array of records"
    elif hasattr(X, "collect_schema") and not hasattr(X, "to_numpy"):
        found, remedy = f"a {type(X).__name__}", "Call its collect() first"
    if found:
        raise TypeError(f"{name} must be an array or a frame, a row for each example; found {found}. {remedy}")
    if is_frame(X):
        labels = list(X.columns)
        if len(set(labels)) < len(labels):
            twice = next(label for k, label in enumerate(labels) if label in labels[:k])
            raise DataError(f"{name} has two columns named {twice!r}; name them apart")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Let scikit-learn's errors of X name the argument."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        if said.startswith("The feature names should match"):
            raise ValueError(
                f"{said.rstrip()}\nGive {name} the columns that were learned from, in their order: "
                f"{name}[list(model.feature_names_in_)]"
            ) from None
        if name == "X" or not said.startswith("X "):
            raise
        raise ValueError(name + said[1:]) from None


def checked(estimator: Any, X: Any, reset: bool, name: str = "X") -> Any:
    """X as an array (n, d), or a frame; scikit-learn's checks of its shape, its columns' names and their number."""
    data.check_unmasked(X, name)
    check_form(X, name)
    if getattr(X, "ndim", 2) == 1 and not is_frame(X):
        frame = f" a frame, as {name}.to_frame()," if hasattr(X, "to_frame") else ""
        raise ValueError(
            f"{name} must have a row for each example, (n, d); got shape {X.shape}. Reshape your data:{frame} "
            f"{name}.reshape(-1, 1) if it is one column, or {name}.reshape(1, -1) if it is one row"
        )
    if isinstance(X, np.ndarray) and X.dtype.kind == "c":
        data.as_numbers(X, name)
    if isinstance(X, np.ndarray) and X.ndim in (3, 4) and X.dtype.kind in "uif":  # images
        X = X.reshape(len(X), -1)
    if is_frame(X):
        with _named(name):
            validate_data(estimator, X, reset=reset, skip_check_array=True)
        if not len(X) or not len(X.columns):
            raise ValueError(f"{name} has {len(X)} rows and {len(X.columns)} columns; at least one of each is needed")
        return X
    try:
        with _named(name):
            return validate_data(estimator, X, dtype=None, ensure_all_finite=False, reset=reset)
    except ValueError as error:
        if "inhomogeneous" in str(error):
            data.as_numbers(X, name)
        raise
