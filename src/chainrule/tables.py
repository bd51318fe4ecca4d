"""Tables of mixed columns, arrays or frames, as numbers: (n, d) of float64, and what kind each column is.

NaN is a missing value, the place in `classes` stands for a category, −1 for one that was not there before, days since 1970
for a date. An error names the row and the column.
"""

from __future__ import annotations

import datetime
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from chainrule.data import Array, DataError, Doubles, as_numbers, check_unmasked
from chainrule.inputs import Column

KNOWN = "fiubOUSTMm"  # kinds of arrays
MISSING = frozenset(
    ("", "na", "n/a", "nan", "null", "none", "?", "-", "nat", "<na>")
)  # how text says that nothing is known
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
MICROSECONDS = 86_400e6  # of a day
EPOCH = datetime.date(1970, 1, 1).toordinal()
FEW, SLIPS = 2, 0.1  # values, or share of them, that are no number or date and may be slips; more make it a category
MEND = "Correct it, or leave it empty: a missing value"
DISTINCT = 0.9  # of the rows, if so many texts differ, they tell nothing
CLASSES = 12  # of text, up to which it may well be meant so, whatever it looks like
YEAR_MONTH = r"(1[5-9]\d\d|2[0-4]\d\d)[-/](\d{1,2})"
YEAR_FIRST = r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?:[T ]+(\d{1,2})(:.*))?"  # leaves no doubt
CLOCK = r"(\d{1,2}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?"  # hours, minutes, seconds
NUMBER = r"[+-]?\d+([.,]\d+)?"
OTHERWISE = (  # text that is no number and no date to a machine, but to a reader; and how it is to be written
    (
        r"(\d{1,2}([-/.])\d{1,2}\2\d{4}|\d{1,2}/\d{1,2}/\d{2})(\W.*)?",
        "dates", "Write year, month, day: 2020-12-31",
    ),
    (
        r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]m)?",
        "times of day", "Write hours, minutes, seconds: 20:15 or 20:15:00",
    ),
    (r"[+-]?\d+(,\d+)+(\.\d+)?", "numbers with a comma", "Write 1234.5"),
    (
        f"([<>≤≥~±$€£]|[<>]=) *{NUMBER}|{NUMBER} *[%$€£]",
        "numbers with a sign", "Leave the sign away, or give it a column of its own",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a column is, for errors: in an argument, or in a file, whose rows are lines."""

    name: str
    column: str
    lines: Sequence[int] | None = None

    def error(self, row: int, said: str, found: str, remedy: str) -> DataError:
        """Return the error of one value: where it is, what is said of its column, what was found, what to do."""
        if self.lines is None:
            return DataError(f"{self.name}, {self.column}: {said}; found {found} at row {row}. {remedy}")
        return DataError(f"{self.name}, line {self.lines[row]}, {self.column}: {said}; found {found}. {remedy}")


def read_table(X: Any, name: str, columns: Sequence[Column] | None = None) -> tuple[Doubles, list[Column]]:
    """Return a table and its columns: those given, whose kinds it must have, or new ones.

    Parameters
    ----------
    X : array or frame, (n, d)
        Of numbers, or columns of numbers, booleans, dates and text. None, NaN, NaT and such words as "NA" are missing.
    name : str
        Of the argument, for errors.
    columns : sequence of Column, optional

    Raises
    ------
    DataError
        Where a column is of mixed kinds, infinite, or not of the kind it was; with its name and the row.
    """
    names = [str(label) for label in X.columns] if is_frame(X) else []
    if names and columns is not None:
        _check_names(names, [column.name for column in columns], name)
    array = None if names else _as_array(X, name)
    if array is not None and array.dtype.kind in "fiub":
        kind = "boolean" if array.dtype.kind == "b" else "number"
        fresh = [Column(f"x{j}", kind) for j in range(array.shape[1])] if columns is None else list(columns)
        if all(column.kind in ("number", "boolean") for column in fresh):
            table: Doubles = array.astype(np.float64, copy=False)
            _check_infinite(table, name, fresh, bool(columns))
            for j, known in enumerate(fresh):
                if known.kind == "boolean" and array.dtype.kind != "b":
                    _check_truth(table[:, j], Place(name, f"column {j}"))
            return table, fresh
    d = len(names) if array is None else array.shape[1]
    # Beside columns of numbers, whole numbers as text are meant so.
    numbered = any(_is_numeric(X[label].dtype) for label in X.columns) if names and columns is None else False
    parts: list[Doubles] = []
    made: list[Column] = []
    for j in range(d):
        raw = X[X.columns[j]] if array is None else array[:, j]
        label = names[j] if names else f"x{j}"
        column = None if columns is None else columns[j]
        place = Place(name, f"column {label!r}" if names else f"column {j}")
        values, column = _read_column(raw, column or Column(label, ""), place, column is None, numbered)
        parts.append(values)
        made.append(column)
    table = np.stack(parts, axis=1)
    _check_infinite(table, name, made, bool(names))
    return table, made


def _check_names(names: list[str], learned: list[str], name: str) -> None:
    """Refuse other columns, or another order, than was learned from; scikit-learn does where the names are text."""
    if names == learned or learned == [f"x{j}" for j in range(len(learned))]:
        return
    j = next((j for j, (now, before) in enumerate(zip(names, learned, strict=False)) if now != before), len(learned))
    raise DataError(
        f"{name} must have the columns that were learned from, in their order; found {', '.join(names[j : j + 1])} at "
        f"place {j} where {', '.join(learned[j : j + 1])} was"
    )


def _check_truth(numbers: Doubles, place: Place) -> None:
    odd = ~np.isnan(numbers) & (numbers != 0) & (numbers != 1)
    if odd.any():
        row = int(odd.argmax())
        raise place.error(row, _as_learned("boolean"), f"{numbers[row]:g}", MEND)


def is_frame(X: Any) -> bool:
    """Whether X has named columns, as a frame of pandas or polars."""
    return hasattr(X, "columns") and hasattr(X, "__getitem__") and not isinstance(X, np.ndarray)


def _is_numeric(dtype: Any) -> bool:
    """Whether a column of a frame of pandas or polars holds numbers."""
    asked = getattr(dtype, "is_numeric", None)
    return bool(asked()) if callable(asked) else getattr(dtype, "kind", "") in ("f", "i", "u")


def _as_array(X: Any, name: str) -> Array:
    """X as (n, d): of numbers where all are, else of objects."""
    check_unmasked(X, name)
    if isinstance(X, np.ndarray) and X.dtype.kind in KNOWN:
        array = X
    else:
        try:
            array = np.asarray(X)
            if array.dtype.kind in "US":  # of mixed lists: numbers have become text
                array = np.asarray(X, dtype=object)
        except ValueError:
            return as_numbers(X, name)  # rows of unequal length: an error that says where
    if array.dtype.kind not in KNOWN:
        return as_numbers(array, name)
    if array.ndim != 2:
        raise DataError(f"{name} must have shape (n, d), a row for each example; got {array.shape}")
    return array


def _check_infinite(table: Doubles, name: str, columns: Sequence[Column], named: bool) -> None:
    with np.errstate(invalid="ignore"):
        infinite = np.isinf(table)
    if infinite.any():
        row, j = (int(i) for i in np.argwhere(infinite)[0])
        column = repr(columns[j].name) if named else str(j)
        raise DataError(
            f"{name} must hold finite numbers; found {table[row, j]} at row {row}, column {column}. "
            f"Remove or fill such rows first, or set them to NaN, which is a missing value"
        )


def _read_column(raw: Any, column: Column, place: Place, fresh: bool, numbered: bool) -> tuple[Doubles, Column]:
    """Return the numbers of one column, and the column, whose kind and classes are found where it is fresh.

    `numbered`: whether numbers would have been numbers.
    """
    values = np.asarray(raw)
    if values.ndim != 1:
        raise DataError(f"{place.name}, {place.column}: must hold one value in each row; got shape {values.shape}")
    named = "categor" in str(getattr(raw, "dtype", "")).lower() or str(getattr(raw, "dtype", "")).startswith("Enum")
    if values.dtype.kind in "fiub" and not named:
        numbers: Doubles = values.astype(np.float64)
        kind = "boolean" if values.dtype.kind == "b" else "number"
        known = ~np.isnan(numbers)
        items: list[Any] = []
        if fresh or column.kind not in ("number", "boolean"):
            items = [item if seen else None for item, seen in zip(values.tolist(), known.tolist(), strict=True)]
    elif values.dtype.kind in "Mm":
        known, kind, items = ~np.isnat(values), "date" if values.dtype.kind == "M" else "number", []
        numbers = np.where(known, values.astype(f"{values.dtype.kind}8[us]").astype(np.int64) / MICROSECONDS, np.nan)
    else:
        items = _each(_plain, values.tolist())
        known = np.array([item is not None for item in items], dtype=bool)
        named = named or (fresh and numbered and _codes(items))
        kind, numbers = ("category", np.zeros(0)) if named else read_items(items, place, column.kind)
    if fresh:
        column.kind = kind
        if kind == "category":
            classes = {item.strip() if isinstance(item, str) else item for item in items if item is not None}
            column.classes = sorted(classes, key=lambda c: (str(type(c)), c))
            if len(classes) > max(CLASSES, DISTINCT * known.sum()):
                warnings.warn(
                    f"{place.name}, {place.column}: has {len(classes)} different texts in {known.sum()} rows, as "
                    f"{min(map(str, classes))!r}: of such nothing is learned that holds for others. Make numbers of what is "
                    f"in them, or leave the column out",
                    UserWarning,
                    stacklevel=2,
                )
    elif kind != column.kind and column.kind == "category":
        kind = "category"
    elif kind != column.kind and known.any() and {kind, column.kind} != {"number", "boolean"}:
        first = int(known.argmax())
        raise place.error(first, _as_learned(column.kind), repr((items or values.tolist())[first]), MEND)
    if kind == "category":
        numbers = _places(items, column.classes)
        new = set() if (numbers >= 0).any() else {item for item in items if item is not None}
        if len(new) > FEW:
            warnings.warn(
                f"{place.name}, {place.column}: none of its values, as {min(map(str, new))!r}, was in what was "
                f"learned from, as {column.classes[:1]}: all are answered as a class that is new",
                UserWarning,
                stacklevel=2,
            )
    elif column.kind == "boolean" and kind == "number":
        _check_truth(numbers, place)
    return numbers, column


def _codes(items: list[Any]) -> bool:
    """Whether they are few whole numbers, as text: names, such as 1 to 5 of shops."""
    texts = {item for item in items if item is not None} if all(isinstance(i, str | None) for i in items) else set()
    return 0 < len(texts) <= CLASSES and all(re.fullmatch(r"[ +-]*\d+ *", text) for text in texts)


def _places(items: list[Any], classes: list[Any]) -> Doubles:
    """Return the place of each item among the classes, −1 where it is none of them, NaN where it is missing."""
    number = {c: float(i) for i, c in enumerate(classes)}
    places = np.array([np.nan if item is None else number.get(item, -1.0) for item in items])
    if (places == -1).any():  # a number may have been text, or text a number: then where one class alone is so written
        spelt = [_spelling(c) for c in classes]
        times = Counter(spelt)
        alike = {key: number[c] for key, c in zip(spelt, classes, strict=True) if times[key] == 1}
        for row in np.flatnonzero(places == -1):
            places[row] = alike.get(_spelling(items[row]), -1.0)
    return places


def _spelling(item: Any) -> Any:
    """A class, however it is written: 1, 1.0, "1" and " 1" are one."""
    text = item.strip() if isinstance(item, str) else item
    number = _number(text)
    return text if number is None else number


def _as_learned(kind: str) -> str:
    return f"is a {kind} in what was learned from"


def is_number(cell: str) -> bool:
    """Whether text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell  # Python would take 1_000 and the digits of other scripts


def is_date(cell: str) -> bool:
    """Whether text is a date, the year first."""
    return not is_number(cell) and _day(cell) is not None


def is_missing(value: Any) -> bool:
    """Whether a value, or a word for it, says that nothing is known."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return True
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType")


def _plain(value: Any) -> Any:
    """A value, None where it is missing; bytes as the text that they are."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return None if is_missing(value) else value


def _number(item: Any) -> float | None:
    """An item as a number, or None where it is none; a time of day and a difference of times in days."""
    if isinstance(item, bool | np.bool_):
        return None
    if isinstance(item, datetime.time):
        item = datetime.timedelta(
            hours=item.hour, minutes=item.minute, seconds=item.second, microseconds=item.microsecond
        )
    if isinstance(item, datetime.timedelta):
        return item / datetime.timedelta(days=1)
    if isinstance(item, Real | Decimal):
        return float(item)
    return float(item) if isinstance(item, str) and is_number(item) else None


def _clock(item: Any) -> float | None:
    """A time of day as text, in days."""
    parts = re.fullmatch(CLOCK, item.strip()) if isinstance(item, str) else None
    if parts is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return (hours * 3600 + minutes * 60 + seconds) / 86_400


def _day(item: Any) -> float | None:
    """A date, or text in ISO's form or one like it, as 2020/1/31, or a month, as days since 1970."""
    if isinstance(item, str):
        text = item.strip()
        if parts := re.fullmatch(YEAR_MONTH, text):  # which begins with
            text = f"{parts[1]}-{parts[2]:0>2}-01"
        elif parts := re.fullmatch(YEAR_FIRST, text):
            year, _, month, day, hour, rest = parts.groups("")
            text = f"{year}-{month:0>2}-{day:0>2}" + (f"T{hour:0>2}{rest}" if hour else "")
        try:
            item = datetime.datetime.fromisoformat(text)
        except ValueError:
            return None
    if hasattr(item, "to_timestamp"):  # a period begins with
        item = item.to_timestamp()
    if isinstance(item, datetime.datetime):
        zone = item.tzinfo or datetime.UTC
        return item.replace(tzinfo=zone).timestamp() / 86_400
    return float(item.toordinal() - EPOCH) if isinstance(item, datetime.date) else None


def _truth(item: Any) -> float | None:
    if isinstance(item, bool | np.bool_):
        return float(item)
    return WORDS.get(item.strip().lower()) if isinstance(item, str) else None


def _as_before(item: Any, kind: str) -> float | None:
    """An item of a column whose kind is known as a number, None where it is none: a boolean is a number, but no word is."""
    if kind == "date":
        return _day(item)
    truth = _truth(item) if kind == "boolean" or not isinstance(item, str) else None
    number = _number(item) if truth is None else truth
    return _clock(item) if number is None and kind == "number" else number


def read_items(items: list[Any], place: Place, known: str = "") -> tuple[str, Doubles]:
    """Return the kind of a column of objects, the known one where there is one, and its numbers; empty for a category."""
    some = [(row, item) for row, item in enumerate(items) if item is not None]
    if known == "category":
        _refuse_objects(some, place)
        return known, np.zeros(0)
    if known:
        found = _each(lambda item: _as_before(item, known), items)
        odd = next((row for row, _ in some if found[row] is None), None)
        if odd is not None:
            raise place.error(odd, _as_learned(known), repr(items[odd]), MEND)
        return known, _with_gaps(found)
    best, missed = "category", [row for row, _ in some]
    many = len({item for _, item in some if isinstance(item, str)}) > CLASSES
    times = [("time of day", _clock)] if many else []
    for kind, convert in (("boolean", _truth), ("number", _number), ("date", _day), *times):
        found = _each(convert, items)
        wrong = [row for row, item in some if found[row] is None]
        if some and not wrong:
            return "number" if convert is _clock else kind, _with_gaps(found)
        slips = max(FEW, SLIPS * len(some))
        if kind != "boolean" and len(wrong) < len(missed) / 2 and len(wrong) <= slips:
            best, missed = kind, wrong
    odd = next((row for row, item in some if not isinstance(item, str)), None)
    if not some:
        return "number", np.full(len(items), np.nan)
    _refuse_objects(some, place)
    if best != "category":  # most are of another kind: rather a slip than a class
        raise place.error(missed[0], f"most values are a {best}", repr(items[missed[0]]), MEND)
    if odd is not None and any(isinstance(item, str) for _, item in some):
        raise place.error(odd, "holds text and other things", repr(items[odd]), "Make all of them text")
    if odd is None and many:
        _check_writing(some, place)
    return "category", np.zeros(0)


def _check_writing(some: list[tuple[int, str]], place: Place) -> None:
    """Refuse text most of which is numbers or dates, otherwise written: each would be a class of its own."""
    numbers = {item for item in {item for _, item in some} if is_number(item.strip())}
    texts = [(row, item.strip()) for row, item in some if item not in numbers]
    for pattern, kind, remedy in OTHERWISE:
        looks = {text for text in {text for _, text in texts} if re.fullmatch(pattern, text, re.IGNORECASE)}
        written = [row for row, text in texts if text in looks]
        if written and len(texts) - len(written) <= max(FEW, SLIPS * len(some)):
            raise place.error(
                written[0], f"most values look like {kind}", repr(dict(some)[written[0]]),
                f"{remedy}; or, where they are names of classes, put a letter before them",
            )  # fmt: skip


def _each(convert: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Return each item, converted, None as it is: of text, which is there again and again, each only once."""
    texts = {item: convert(item) for item in {item for item in items if type(item) is str}}
    return [texts[item] if type(item) is str else None if item is None else convert(item) for item in items]


def _with_gaps(found: list[float | None]) -> Doubles:
    return np.array([np.nan if x is None else x for x in found])


def _refuse_objects(some: list[tuple[int, Any]], place: Place) -> None:
    for row, item in some:
        if not isinstance(item, str | int | float | datetime.date | np.generic):
            raise TypeError(
                f"{place.name}, {place.column}: an argument must be a string or a number; "
                f"found {type(item).__name__} at row {row}. Make columns of what is in it"
            )
