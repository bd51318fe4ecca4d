"""Examples from files: CSV tables, IDX files, folders of images; an error names the file, the line and the column.

They are read with the standard library and Pillow; nothing here runs code that a file brings.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chainrule.data import Array, DataError, check_finite


@dataclass
class Examples:
    """What was read: X (n, d), and y (n,) of numbers or of names, or None where there is no target."""

    X: Array
    y: Array | None
    features: list[str] = field(default_factory=list)  # names of X's columns; empty for images
    target: str = ""
    names: list[str] = field(default_factory=list)  # of the image files, one a row
    shape: tuple[int, ...] = ()  # of an image, (height, width) or (height, width, 3); empty for a table
    test: Examples | None = None  # a test set that came with it


@dataclass(frozen=True)
class Wanted:
    """What to look for in a file.

    Attributes
    ----------
    target : str, optional
        The column to learn; without one a table is read for prediction.
    features : sequence of str, optional
        The columns that a model needs, in its order; default: all but the target.
    task : {"auto", "regression", "classification"}
        Whether the targets are numbers or names of classes; auto: names where they are text, and whole numbers beside
        images.
    labels : bool
        Whether to read targets at all.
    """

    target: str | None = None
    features: Sequence[str] | None = None
    task: str = "auto"
    labels: bool = True


def read(
    path: str | os.PathLike[str],
    target: str | None = None,
    features: Sequence[str] | None = None,
    task: str = "auto",
    labels: bool = True,
) -> Examples:
    """Read whatever is there: a CSV table, an index CSV of images, a folder of either kind, an IDX file, one image.

    Parameters
    ----------
    path : path
    target, features, task, labels
        See `Wanted`.

    Returns
    -------
    examples : Examples
        X, y, and what they are called.

    Raises
    ------
    DataError
        Naming the file, the line and the column, what was found, and what to do.
    """
    path, wanted = Path(path), Wanted(target, features, task, labels)
    if path.is_dir():
        return _read_folder(path, wanted)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt")):
        return _read_csv(path, wanted)
    if ".idx" in path.name or "-idx" in path.name or path.suffix == ".gz":
        return _images(path, read_idx(path))
    if path.suffix.lower() in IMAGES:
        return _stack([path], None)
    raise DataError(
        f"{path}: of unknown kind; allowed are .csv, .tsv, IDX files, images ({', '.join(IMAGES)}) and folders"
    )


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


def is_number(cell: str) -> bool:
    """Whether text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell  # Python would take 1_000 and the digits of other scripts


def _number_column(path: Path, name: str, cells: list[str], lines: list[int], classes: bool = False) -> Array:
    """Return one column as numbers, or say which line is none; `classes`: it might have named classes instead."""
    if all(map(is_number, cells)):
        column = np.array(cells, dtype=np.float64)
        if np.isfinite(column).all():
            return column
    bad = next(i for i, cell in enumerate(cells) if not is_number(cell) or not np.isfinite(float(cell)))
    found = f"{cells[bad]!r}" if cells[bad] else "an empty cell"
    remedy = "Correct it, or leave the row or the column out"
    if re.fullmatch(r"[-+]?\d+,\d+", cells[bad]):
        remedy = f"Write {cells[bad].replace(',', '.')!r}"
    elif classes:
        remedy += ", or add --task classification if the column names classes"
    raise DataError(f"{path}, line {lines[bad]}, column {name!r}: must be a finite number; found {found}. {remedy}")


def _targets(path: Path, name: str, cells: list[str], lines: list[int], task: str, images: bool) -> Array:
    """Return the column to learn: numbers, or names of classes as they are written."""
    numbers = sum(map(is_number, cells))
    text = numbers < len(cells) / 2 or (images and all(re.fullmatch(r"\d+", cell) for cell in cells))
    if task == "regression" and not numbers:
        raise DataError(f"{path}: column {name!r} holds text; regression needs numbers")
    if task == "classification" or (task == "auto" and text):
        if "" in cells:
            raise DataError(f"{path}, line {lines[cells.index('')]}, column {name!r}: the label is missing")
        return np.array(cells)
    return _number_column(path, name, cells, lines, classes=task == "auto")


def _check_column(path: Path, name: str, header: list[str], purpose: str) -> None:
    if name not in header:
        near = {other.lower(): other for other in header}
        meant = near.get(name.lower()) or next(iter(difflib.get_close_matches(name, header, 1)), None)
        hint = f". Did you mean {meant!r}?" if meant else ""
        raise DataError(f"{path}: has no column {name!r}{purpose}; its columns are {', '.join(header)}{hint}")


def _read_csv(path: Path, wanted: Wanted) -> Examples:
    header, rows, lines = table_cells(path)
    target = wanted.target if wanted.labels else None
    if target is not None:
        _check_column(path, target, header, " to learn")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    pictures = next((name for name in header if name.lower() in ("file", "filename", "image", "path")), None)
    if pictures is not None and not wanted.features and columns[pictures][0].lower().endswith(IMAGES):
        return _read_index(path, columns, lines, pictures, wanted)
    names = list(wanted.features) if wanted.features else [name for name in header if name != target]
    for name in names:
        _check_column(path, name, header, ", which the model needs")
    if not names:
        raise DataError(f"{path}: has no column besides the target {target!r} to learn from")
    X = np.column_stack([_number_column(path, name, columns[name], lines) for name in names])
    y = None if target is None else _targets(path, target, columns[target], lines, wanted.task, images=False)
    return Examples(X, y, features=names, target=target or "")


_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> Array:
    """Read an IDX file (the MNIST format), gzip or not: an array of its own shape.

    Raises
    ------
    DataError
        Where the magic number is not that of IDX, or the file is cut, has too much, or is damaged gzip.
    """
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged gzip ({error}); copy or download it again") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES or raw[3] == 0:
        raise DataError(f"{path}: is no IDX file: it begins with {raw[:4].hex(' ')!r}, not 00 00 <type> <dimensions>")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise DataError(f"{path}: is cut within its header: {len(raw)} bytes, {start} expected")
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3]))
    dtype = np.dtype(_IDX_TYPES[raw[2]])
    expected = start + dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object))
    if len(raw) != expected:
        kind = "is cut" if len(raw) < expected else "has too many bytes"
        raise DataError(f"{path}: {kind}: {len(raw)} bytes, {expected} expected for shape {shape}")
    array = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("=")) if dtype.byteorder == ">" else array


IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".webp")


def _images(path: Path, array: Array) -> Examples:
    """IDX images as rows."""
    if array.size == 0:
        raise DataError(f"{path}: holds no images: its shape is {array.shape}")
    X = array.reshape(len(array), -1)
    check_finite(X, str(path))
    return Examples(X, None, shape=array.shape[1:])


def _read_folder(path: Path, wanted: Wanted) -> Examples:
    """IDX pairs, an index CSV, train/ and test/, or one folder a class."""
    idx = sorted(p for p in path.iterdir() if "idx" in p.name and p.is_file())
    if idx:
        train = _idx_pair(path, idx, ("train",)) or _idx_pair(path, idx, ("",))
        if train is None:
            raise DataError(
                f"{path}: holds IDX files but no pair of images and labels (train-images-idx3-ubyte and so on)"
            )
        return _with_test(path, train, _idx_pair(path, idx, ("t10k", "test")))
    index = next((path / name for name in ("index.csv", "labels.csv") if (path / name).exists()), None)
    if index is not None:
        return _read_csv(index, wanted)
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    names = {p.name.lower(): p for p in folders}
    if "train" in names and set(names) <= {"train", "test", "val", "validation"}:
        test = _read_classes(names["test"]) if "test" in names else None
        return _with_test(path, _read_classes(names["train"]), test)
    if folders:
        return _read_classes(path)
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
    if files:
        return _stack(files, None)
    raise DataError(f"{path}: holds no examples: IDX files, an index.csv, folders of images (one a class), or images")


def _with_test(path: Path, train: Examples, test: Examples | None) -> Examples:
    if test is not None and test.shape != train.shape:
        raise DataError(
            f"{path}: its test images are of {pixels(test.shape)}, those to learn from of {pixels(train.shape)}; "
            f"bring all to one size"
        )
    train.test = test
    return train


def pixels(shape: tuple[int, ...]) -> str:
    """Return the size of an image (height, width, ...) in words."""
    return f"{shape[1]} x {shape[0]} pixels" + (" in colour" if len(shape) == 3 else "")


def _idx_pair(path: Path, files: list[Path], prefixes: tuple[str, ...]) -> Examples | None:
    def find(word: str) -> Path | None:
        return next((f for f in files if word in f.name and f.name.startswith(prefixes)), None)

    images, labels = find("images"), find("labels")
    if images is None or labels is None:
        return None
    pair, y = _images(images, read_idx(images)), read_idx(labels)
    if y.ndim != 1 or len(pair.X) != len(y):
        raise DataError(
            f"{labels}: has shape {y.shape}, but {images.name} has {len(pair.X)} images; one label each is needed"
        )
    check_finite(y, str(labels))
    pair.y = y
    return pair


def _read_classes(path: Path) -> Examples:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    pairs = [(f, d.name) for d in folders for f in sorted(d.iterdir()) if f.suffix.lower() in IMAGES]
    if not pairs:
        raise DataError(f"{path}: none of its folders holds an image ({', '.join(IMAGES)})")
    return _stack([f for f, _ in pairs], np.array([name for _, name in pairs]))


def _read_index(path: Path, columns: dict[str, list[str]], lines: list[int], pictures: str, wanted: Wanted) -> Examples:
    others = [name for name in columns if name != pictures]
    if wanted.labels and wanted.target is None and len(others) > 1:
        raise DataError(f"{path}: name the column to learn with --target; it has {', '.join(others)}")
    label = wanted.target or (others[0] if others else None)
    files = [path.parent / cell for cell in columns[pictures]]
    for file, line in zip(files, lines, strict=True):
        if not file.is_file():
            raise DataError(f"{path}, line {line}, column {pictures!r}: there is no file {file}")
    y = None
    if wanted.labels and label is not None:
        y = _targets(path, label, columns[label], lines, wanted.task, images=True)
    examples = _stack(files, y)
    examples.target = (label or "") if wanted.labels else ""
    return examples


def _pixels_of(file: Path) -> Array:
    """Grey levels (height, width) or colours (height, width, 3), uint8."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode == "F":
                raise DataError(f"{file}: holds floating-point numbers, of unknown range; save it with 8 or 16 bits")
            if image.mode.startswith("I"):
                levels = np.asarray(image).astype(np.int64)
                if levels.min() < 0 or levels.max() > 65535:
                    raise DataError(f"{file}: holds {levels.min()} to {levels.max()}; save it with 8 or 16 bits")
                return ((levels + 128) // 257).astype(np.uint8)  # 65535 = 257 * 255
            if image.mode in ("1", "L", "LA", "La"):
                return np.asarray(image.convert("L"))
            colours = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be read as an image ({error}); replace it or take it out") from None
    grey = (colours == colours[:, :, :1]).all()
    return colours[:, :, 0] if grey else colours


def _stack(files: list[Path], y: Array | None) -> Examples:
    """Images as rows of grey levels, or of red, green, blue where any of them has colour."""
    images = [(file, _pixels_of(file)) for file in files]
    first, shape = images[0][0], images[0][1].shape[:2]
    for file, image in images:
        if image.shape[:2] != shape:
            raise DataError(f"{file}: is {pixels(image.shape[:2])}, but {first.name} is {pixels(shape)}; "
                            f"bring all images to one size")  # fmt: skip
    colour = any(image.ndim == 3 for _, image in images)
    arrays = [in_colour(image) if colour else image for _, image in images]
    stacked = np.stack(arrays)
    return Examples(stacked.reshape(len(stacked), -1), y, names=[str(file) for file in files], shape=stacked.shape[1:])


def in_colour(image: Array) -> Array:
    """Return grey levels (height, width) as equal red, green and blue; what has colour as it is."""
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
