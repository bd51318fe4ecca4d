"""Examples from files: CSV tables, IDX files, folders of images; an error names the file, the line and the column.

They are read with the standard library and Pillow; nothing here runs code that a file brings.
"""

from __future__ import annotations

import difflib
import gzip
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from chainrule.cells import feature, table_cells, targets
from chainrule.data import Array, DataError, check_finite
from chainrule.tables import Place


@dataclass
class Examples:
    """What was read: X (n, d), and y (n,) of numbers or of names, or None where there is no target.

    A table of numbers, NaN where one is missing, is of float64; one with columns of text, None where it is, of objects.
    """

    X: Array
    y: Array | None
    features: list[str] = field(default_factory=list)  # names of X's columns; empty for images
    target: str = ""
    names: list[str] = field(default_factory=list)  # of the image files, one a row
    shape: tuple[int, ...] = ()  # of an image, (height, width) or (height, width, 3); empty for a table
    test: Examples | None = None  # a test set that came with it
    place: Place | None = None  # of the targets in a table

    @property
    def stacked(self) -> Array:
        """X as estimators take it: images as (n, height, width) or (n, height, width, 3)."""
        return self.X.reshape(len(self.X), *self.shape) if self.shape else self.X


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
    kinds : sequence of str
        What a model knows of each feature: number, boolean, date, category, or FINITE where none may be missing; default:
        what they look like.
    """

    target: str | None = None
    features: Sequence[str] | None = None
    task: str = "auto"
    labels: bool = True
    kinds: Sequence[str] = ()


def read(
    path: str | os.PathLike[str],
    target: str | None = None,
    features: Sequence[str] | None = None,
    task: str = "auto",
    labels: bool = True,
    kinds: Sequence[str] = (),
) -> Examples:
    """Read whatever is there: a CSV table, an index CSV of images, a folder of either kind, an IDX file, one image.

    Parameters
    ----------
    path : path
    target, features, task, labels, kinds
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
    path, wanted = Path(path), Wanted(target, features, task, labels, kinds)
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
    kinds = zip_longest(names, wanted.kinds[: len(names)], fillvalue="")
    X = np.column_stack([feature(_place(path, name, lines), columns[name], kind) for name, kind in kinds])
    if target is None:
        return Examples(X, None, features=names)
    place = _place(path, target, lines)
    y = targets(place, columns[target], wanted.task, images=False)
    return Examples(X, y, features=names, target=target, place=place)


def _place(path: Path, name: str, lines: list[int]) -> Place:
    return Place(str(path), f"column {name!r}", lines)


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
    if not wanted.labels or label is None:
        return _stack(files, None)
    place = _place(path, label, lines)
    examples = _stack(files, targets(place, columns[label], wanted.task, images=True))
    examples.target, examples.place = label, place
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
