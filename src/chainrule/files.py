"""Examples from files: CSV tables, IDX files, folders of images; an error names the file, the line and the column.

They are read with the standard library and Pillow; nothing here runs code that a file brings.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chainrule.data import Array, DataError


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


def read(path: Path, target: str | None = None, features: Sequence[str] | None = None) -> Examples:
    """Read whatever is there: a CSV table, an index CSV of images, a folder of either kind, an IDX file, one image.

    Parameters
    ----------
    path : Path
    target : str, optional
        The column to learn; without one a table is read for prediction.
    features : sequence of str, optional
        The columns that a model needs, in its order; default: all but the target.
    """
    if path.is_dir():
        return _read_folder(path, target)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _read_csv(path, target, features)
    if ".idx" in path.name or "-idx" in path.name or path.suffix == ".gz":
        images = read_idx(path)
        return Examples(images.reshape(len(images), -1), None, shape=images.shape[1:])
    if path.suffix.lower() in IMAGES:
        return _stack([path], None)
    raise DataError(
        f"{path}: of unknown kind; allowed are .csv, .tsv, IDX files, images ({', '.join(IMAGES)}) and folders"
    )


def table_cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows of cells, and the line number of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8 (byte {error.start}); save the table as CSV, UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: is not a readable CSV table: {error}") from None
    if not lines:
        raise DataError(f"{path}: is empty; a header line and at least one row of numbers are needed")
    header = [cell.strip() for cell in lines[0][1]]
    if all(_is_number(cell) for cell in header):
        raise DataError(f"{path}: line 1 holds numbers; it must name the columns, as 'temperature,pressure,strength'")
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
    return header, [[cell.strip() for cell in cells] for _, cells in lines[1:]], [line for line, _ in lines[1:]]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number_column(path: Path, name: str, cells: list[str], lines: list[int]) -> Array:
    """Return one column as numbers, or say which line is none."""
    try:
        column = np.array(cells, dtype=np.float64)
        if np.isfinite(column).all():
            return column
    except ValueError:
        pass
    bad = next(i for i, cell in enumerate(cells) if not _is_number(cell) or not np.isfinite(float(cell)))
    found = f"{cells[bad]!r}" if cells[bad] else "an empty cell"
    raise DataError(
        f"{path}, line {lines[bad]}, column {name!r}: must be a finite number; found {found}. "
        f"Correct it, or leave the row or the column out"
    )


def _read_csv(path: Path, target: str | None, features: Sequence[str] | None) -> Examples:
    header, rows, lines = table_cells(path)
    if target is not None and target not in header:
        raise DataError(f"{path}: has no column {target!r} to learn; its columns are {', '.join(header)}")
    pictures = next((name for name in header if name.lower() in ("file", "filename", "image", "path")), None)
    if pictures is not None and not features:
        return _read_index(path, header, rows, lines, pictures, target)
    wanted = list(features) if features else [name for name in header if name != target]
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(
            f"{path}: has no column {missing[0]!r}, which the model needs; its columns are {', '.join(header)}"
        )
    if not wanted:
        raise DataError(f"{path}: has no column besides the target {target!r} to learn from")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    X = np.column_stack([_number_column(path, name, columns[name], lines) for name in wanted])
    y = None
    if target is not None:
        numeric = [_is_number(cell) for cell in columns[target]]
        # Some numbers make it a column of numbers, with errors where one is none; otherwise it names classes.
        y = _number_column(path, target, columns[target], lines) if any(numeric) else np.array(columns[target])
        if not any(numeric) and "" in columns[target]:
            raise DataError(f"{path}, line {lines[columns[target].index('')]}, column {target!r}: the label is missing")
    return Examples(X, y, features=wanted, target=target or "")


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


def _read_folder(path: Path, target: str | None) -> Examples:
    """IDX pairs, an index CSV, train/ and test/, or one folder a class."""
    idx = sorted(p for p in path.iterdir() if "idx" in p.name and p.is_file())
    if idx:
        train = _idx_pair(path, idx, ("train",)) or _idx_pair(path, idx, ("",))
        if train is None:
            raise DataError(
                f"{path}: holds IDX files but no pair of images and labels (train-images-idx3-ubyte and so on)"
            )
        train.test = _idx_pair(path, idx, ("t10k", "test"))
        return train
    index = next((path / name for name in ("index.csv", "labels.csv") if (path / name).exists()), None)
    if index is not None:
        return _read_csv(index, target, None)
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    names = {p.name.lower(): p for p in folders}
    if "train" in names and set(names) <= {"train", "test", "val", "validation"}:
        train = _read_classes(names["train"])
        if "test" in names:
            train.test = _read_classes(names["test"])
            if train.test.shape != train.shape:
                raise DataError(
                    f"{names['test']}: images of size {train.test.shape}, but {train.shape} in {names['train']}"
                )
        return train
    if folders:
        return _read_classes(path)
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
    if files:
        return _stack(files, None)
    raise DataError(f"{path}: holds no examples: IDX files, an index.csv, folders of images (one a class), or images")


def _idx_pair(path: Path, files: list[Path], prefixes: tuple[str, ...]) -> Examples | None:
    def find(word: str) -> Path | None:
        return next((f for f in files if word in f.name and f.name.startswith(prefixes)), None)

    images, labels = find("images"), find("labels")
    if images is None or labels is None:
        return None
    X, y = read_idx(images), read_idx(labels)
    if y.ndim != 1 or len(X) != len(y):
        raise DataError(
            f"{labels}: has shape {y.shape}, but {images.name} has {len(X)} images; one label each is needed"
        )
    return Examples(X.reshape(len(X), -1), y, shape=X.shape[1:])


def _read_classes(path: Path) -> Examples:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    pairs = [(f, d.name) for d in folders for f in sorted(d.iterdir()) if f.suffix.lower() in IMAGES]
    if not pairs:
        raise DataError(f"{path}: none of its folders holds an image ({', '.join(IMAGES)})")
    return _stack([f for f, _ in pairs], np.array([name for _, name in pairs]))


def _read_index(
    path: Path, header: list[str], rows: list[list[str]], lines: list[int], pictures: str, target: str | None
) -> Examples:
    others = [name for name in header if name != pictures]
    if target is None and len(others) > 1:
        raise DataError(f"{path}: name the column to learn with --target; it has {', '.join(others)}")
    label = target or (others[0] if others else None)
    files = [path.parent / row[header.index(pictures)] for row in rows]
    for file, line in zip(files, lines, strict=True):
        if not file.is_file():
            raise DataError(f"{path}, line {line}, column {pictures!r}: there is no file {file}")
    y: Array | None = None
    if label is not None:
        cells = [row[header.index(label)] for row in rows]
        y = np.array(cells)
        if "" in cells:
            raise DataError(f"{path}, line {lines[cells.index('')]}, column {label!r}: the label is missing")
    examples = _stack(files, y)
    examples.target = label or ""
    return examples


def _stack(files: list[Path], y: Array | None) -> Examples:
    """Images as rows of grey levels, or of red, green, blue where any of them has colour."""
    from PIL import Image, UnidentifiedImageError

    def opened() -> Iterator[tuple[Path, Array]]:
        for file in files:
            try:
                with Image.open(file) as image:
                    grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
                    yield file, np.asarray(image.convert("L" if grey else "RGB"))
            except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
                raise DataError(f"{file}: cannot be read as an image ({error}); replace it or take it out") from None

    images = list(opened())
    first, shape = images[0][0], images[0][1].shape[:2]
    for file, image in images:
        if image.shape[:2] != shape:
            raise DataError(
                f"{file}: is {image.shape[1]} x {image.shape[0]} pixels, but {first.name} is {shape[1]} x {shape[0]}; "
                f"bring all images to one size"
            )
    colour = any(image.ndim == 3 for _, image in images)
    arrays = [np.repeat(i[:, :, None], 3, axis=2) if colour and i.ndim == 2 else i for _, i in images]
    stacked = np.stack(arrays)
    return Examples(stacked.reshape(len(stacked), -1), y, names=[str(file) for file in files], shape=stacked.shape[1:])
