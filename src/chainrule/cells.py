"""The cells of a CSV table, and its columns as estimators take them; an error names the file, the line and the column."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from chainrule import tables
from chainrule.data import Array, DataError
from chainrule.tables import MEND, Place, is_date, is_missing, is_number, read_items

FINITE = "finite number"  # the kind of a column whose values must all be known
CLASSES = ("none", "-", "?")  # words for a missing value that may as well name a class


def table_cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows of cells, and the line number of each row."""
    reader = None
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t", key=lambda mark: _fields(first, mark))
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            lines = [
                (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))
            ]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8 (byte {error.start}); save the table as CSV, UTF-8") from None
    except csv.Error as error:
        where = f", line {reader.line_num}" if reader else ""
        remedy = "; look for a quote that is not closed" if "unexpected end" in str(error) else ""
        raise DataError(f"{path}{where}: is not a readable CSV table: {error}{remedy}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged gzip ({error}); copy or download it again") from None
    if not lines:
        raise DataError(f"{path}: is empty; a header line and at least one row of numbers are needed")
    header = lines[0][1]
    if not header[-1] and all(not cells[len(header) - 1 :] or not cells[-1] for _, cells in lines):
        header = header[:-1]  # each line ends with a delimiter
        lines = [(line, cells[: len(header)] if len(cells) == len(header) + 1 else cells) for line, cells in lines]
    if all(is_number(cell) for cell in header):
        raise DataError(f"{path}: line 1 holds numbers; it must name the columns, as 'temperature,pressure,strength'")
    if "" in header:
        raise DataError(f"{path}, line 1: column {header.index('') + 1} has no name; give it one")
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{path}: the header names column {repeated!r} more than once; names must differ")
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: has {len(cells)} cells where the header has {len(header)}; "
                f"look for a missing or an unquoted {delimiter!r}"
            )
    if len(lines) == 1:
        raise DataError(f"{path}: has a header but no rows")
    return header, [cells for _, cells in lines[1:]], [line for line, _ in lines[1:]]


def _fields(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), []))
    except csv.Error:
        return 0


def feature(place: Place, cells: list[str], kind: str) -> Array:
    """Return a column as estimators take it: numbers, NaN where one is missing; or text, None where it is."""
    if kind == FINITE:
        return _finite(place, cells, "Correct it, or leave the row or the column out")
    if kind in ("", "number") and all(map(is_number, cells)):
        numbers = np.array(cells, dtype=np.float64)
    else:
        items = [None if is_missing(cell) else cell for cell in cells]
        comma = next((row for row, cell in enumerate(cells) if _with_point(cell)), None)
        if comma is not None and all(item is None or is_number(_with_point(item) or item) for item in items):
            raise _not_finite(place, cells, comma, MEND)
        kind, numbers = read_items(items, place, kind)
        if kind != "number":
            return np.array(items, dtype=object)
    if np.isinf(numbers).any():
        raise _not_finite(place, cells, int(np.isinf(numbers).argmax()), MEND)
    return numbers


def _finite(place: Place, cells: list[str], remedy: str) -> Array:
    """Return a column as numbers, or say which line is none."""
    if all(map(is_number, cells)):
        column = np.array(cells, dtype=np.float64)
        if np.isfinite(column).all():
            return column
    odd = next(row for row, cell in enumerate(cells) if not is_number(cell) or not np.isfinite(float(cell)))
    raise _not_finite(place, cells, odd, remedy)


def _not_finite(place: Place, cells: list[str], row: int, remedy: str) -> DataError:
    cell = cells[row]
    if point := _with_point(cell):
        grouped = re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", cell)
        whole = f"Write {cell.replace(',', '')!r} if the comma groups thousands, " if grouped else "Write "
        remedy = f"{whole}{point!r}" + (" if it is the decimal one" if grouped else "")
    return place.error(row, "must be a finite number", _shown(cell), remedy)


def _with_point(cell: str) -> str:
    """Return a number that was written with a comma as it should be, and nothing of any other cell."""
    return cell.replace(",", ".") if re.fullmatch(r"[-+]?\d+,\d+", cell) else ""


def _shown(cell: str) -> str:
    return repr(cell) if cell else "an empty cell"


def targets(place: Place, cells: list[str], task: str, images: bool) -> Array:
    """Return the column to learn: numbers, or names of classes as they are written."""
    numbers = sum(is_number(_with_point(cell) or cell) for cell in cells)
    known = [cell for cell in cells if not is_missing(cell)]
    text = numbers < len(known) / 2 or (images and all(re.fullmatch(r"\d+", cell) for cell in cells))
    if task == "regression" and not numbers:
        raise DataError(f"{place.name}: {place.column} holds text; regression needs numbers")
    gone = next((row for row, cell in enumerate(cells) if is_missing(cell) and cell.lower() not in CLASSES), None)
    if gone is not None:
        raise place.error(gone, "the label is missing", _shown(cells[gone]), "Fill it in, or leave the row out")
    if task == "auto" and len(set(cells)) > tables.CLASSES and all(map(is_date, cells)):
        remedy = "Write days as numbers, or add --task classification if each is a class"
        raise place.error(0, "holds dates, which are no target", _shown(cells[0]), remedy)
    if task == "classification" or (task == "auto" and text):
        return np.array(cells)
    remedy = "Correct it, or leave the row or the column out"
    return _finite(
        place, cells, remedy + ", or add --task classification if the column names classes" * (task == "auto")
    )
