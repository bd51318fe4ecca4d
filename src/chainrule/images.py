"""Images: how they are known, and how they are distorted as they enter training.

The formulas are (95) to (97) of docs/derivation.md; reference.py and core/distortion.hpp carry them out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from chainrule import data, engines

Floats = npt.NDArray[np.float32]

LEAST = 0.5  # pixels of smoothness
HALF_GREY = 127  # grey levels have something brighter
BYTES, UNIT, SIGNED = (0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)  # what grey levels may lie between
SLACK = 0.1  # of that, by which new images may exceed it, as after resizing
SMALLEST = 8  # pixels of a side, where an array's values alone say that it holds images
ALIKE = 0.7  # of the difference between far pixels, at the most that between neighbours
SIDE = 28  # pixels of the images for which the default distances are


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to each image, anew in each epoch, before it enters the network.

    Parameters
    ----------
    rotation : float, default 12
        Degrees, up to 180, to either side at the most.
    scale : float, default 0.15
        Share by which width and height, each for itself, grow or shrink at the most.
    shear : float, default 0.15
        Pixels that a row is shifted beside the next, at the most.
    shift : float, default 1.5
        Pixels, along both axes, at the most.
    elastic : float, default 3
        Pixels by which a smooth field moves each point at the most, along both axes; most points by a quarter of it.
    smoothness : float, default 4
        Pixels, 0.5 or more: how wide the field's bumps are, as the deviation σ of a Gaussian blur (Simard et al. 2003).
    shape : tuple of int, optional
        (height, width) or (height, width, channels) of an image; a row of X holds it row by row. Default: square, and grey.

    Examples
    --------
    >>> from chainrule import Augmentation, Network, train
    >>> X = np.random.default_rng(0).integers(0, 256, (8, 64), dtype=np.uint8)  # images of 8 x 8
    >>> history = train(Network([64, 4, 1], seed=0), X, np.ones((8, 1)), augment=Augmentation(shift=1, elastic=1))
    """

    rotation: float = 12.0
    scale: float = 0.15
    shear: float = 0.15
    shift: float = 1.5
    elastic: float = 3.0
    smoothness: float = 4.0
    shape: tuple[int, ...] | None = None

    def __str__(self) -> str:
        names = ("rotation", "scale", "shear", "shift", "elastic")
        return ", ".join(f"{name} {getattr(self, name):g}" for name in names if getattr(self, name)) or "nothing"

    def for_rows(self, columns: int) -> Self:
        """Return the same for images of so many numbers, each argument checked; its shape is then known."""
        for name, low, top, ends in (
            ("rotation", 0, 180, "[]"), ("scale", 0, 1, "[)"), ("shear", 0, np.inf, "[)"), ("shift", 0, np.inf, "[)"),
            ("elastic", 0, np.inf, "[)"), ("smoothness", LEAST, np.inf, "[)"),
        ):  # fmt: skip
            data.check_number(name, getattr(self, name), low, top, ends)
        side = round(columns**0.5)
        shape = (side, side) if self.shape is None else tuple(self.shape)
        if self.shape is None and side**2 != columns:
            raise ValueError(f"shape must be given, as (height, width): {columns} numbers a row are no square image")
        if len(shape) not in (2, 3):
            raise ValueError(f"shape must be (height, width) or (height, width, channels); got {self.shape!r}")
        for k, n in enumerate(shape):
            data.check_integer(f"shape[{k}]", n, 2 if k < 2 else 1, 2**31 - 1)
        if int(np.prod(shape)) != columns:
            raise ValueError(f"shape={shape} is of {int(np.prod(shape))} numbers; a row of X has {columns}")
        return replace(self, shape=shape)

    def apply(self, X: npt.NDArray[np.generic], *, seed: int = 0, epoch: int = 0, n_threads: int = 1) -> Floats:
        """Return images as they enter training.

        Parameters
        ----------
        X : array, (n, d) or (n, height, width) or (n, height, width, channels)
            float, or uint8: grey levels 0..255, which enter as 0..1.
        seed, epoch : int, default 0
            Of the training, and its epoch, from 0: the same images as there.
        n_threads : int, default 1
            The result does not depend on it.

        Returns
        -------
        images : ndarray of float32, of X's shape
        """
        flat = np.asarray(X).reshape(len(X), -1)
        known = self if self.shape is not None or np.ndim(X) < 3 else replace(self, shape=np.shape(X)[1:])
        known = known.for_rows(flat.shape[1])
        rows = data.as_rows(flat, "X", flat.shape[1], np.dtype(np.float32))
        out = np.empty(rows.shape, dtype=np.float32)
        seed, epoch = data.check_integer("seed", seed, 0, 2**64 - 1), data.check_integer("epoch", epoch, 0, 2**31)
        engines.load(engines.resolve(None)).distort(rows, known, seed, epoch, out, data.check_threads(n_threads))
        return out.reshape(np.shape(X))

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        assert self.shape is not None
        return (*self.shape, 1)[:3]  # type: ignore[return-value]

    @property
    def angle(self) -> float:
        """The rotation in radians."""
        return float(np.deg2rad(self.rotation))


def check_augment(augment: object, columns: int) -> Augmentation | None:
    """Return an augmentation of images of so many numbers, or None."""
    if augment is None:
        return None
    if not isinstance(augment, Augmentation):
        raise TypeError(f"augment must be an Augmentation, as chainrule.Augmentation(rotation=10); got {augment!r}")
    return augment.for_rows(columns)


def span_of(X: npt.NDArray[np.generic]) -> tuple[float, float] | None:
    """Return what the grey levels of an array lie between, None where it holds none: 0..1, or 0..255 if one is above 127.

    Of images that are no rows of a table also −1..1 and, of whole numbers, 0..2ᵏ − 1.
    """
    if X.dtype.kind not in "uif" or not X.size:
        return None
    least, most = float(X.min()), float(X.max())
    if least >= 0 and most <= 255:
        return UNIT if most <= 1 else BYTES if most > HALF_GREY else None
    if X.ndim == 2:
        return None
    if X.dtype.kind == "f":
        return SIGNED if -1 <= least < -0.5 and 0.5 < most <= 1 else None
    return (0.0, float(2 ** int(most).bit_length() - 1)) if least >= 0 and most < 2**16 else None


def as_stack(X: object) -> object:
    """Return images in lists of lists, or of black and white as booleans, as an array of numbers; anything else as it is."""
    if isinstance(X, list | tuple) and len(X) and np.ndim(X[0]) > 1:
        X = data.as_numbers(X, "X")
    return X.astype(np.uint8) if isinstance(X, np.ndarray) and X.ndim > 2 and X.dtype.kind == "b" else X


def side_of(columns: int) -> int:
    """Return the side of the square that so many pixels fill, 0 where it is none, or too small to be known by its values."""
    side = math.isqrt(columns)
    return side if side >= SMALLEST and side**2 == columns else 0


def shape_of(X: object) -> tuple[int, ...] | None:
    """Return the (height, width) or (height, width, channels) of the images that an array holds, None where it holds none.

    Their grey levels are such as `span_of` knows. Of an array (n, d) its values decide: they fill a square, and neighbours
    are alike. So are those along a curve; but of an image a pixel is more like the one below than like that half a line
    beside.
    """
    if not isinstance(X, np.ndarray) or X.ndim < 2:
        return None
    stacked = X.ndim in (3, 4) and min(X.shape[1:3]) >= 2
    side = side_of(X.shape[1]) if X.ndim == 2 else 0
    if not stacked and not side:
        return None
    if span_of(X) is None:
        return None
    if stacked:
        return tuple(X.shape[1:])
    some = X[:: -(-len(X) // 200)].reshape(-1, side, side).astype(np.float64)
    near = np.abs(np.diff(some, axis=1)).mean() + np.abs(np.diff(some, axis=2)).mean()
    far = (
        np.abs(some - np.roll(some, side // 2, axis=1)).mean() + np.abs(some - np.roll(some, side // 2, axis=2)).mean()
    )
    line = (some - some.mean(axis=0)).reshape(len(some), -1)
    below, beside = (np.abs(line[:, apart:] - line[:, :-apart]).mean() for apart in (side, side // 2))
    return (side, side) if near < ALIKE * far and below < beside else None


def as_levels(X: npt.NDArray[np.generic], span: tuple[float, float], name: str) -> npt.NDArray[np.generic]:
    """Return images as a network takes them that learned from grey levels of a span: as floats of 0..1, or as uint8.

    Those of 0..255 and of 0..1 stand for each other.
    """
    low, high = span
    if not X.size:
        return X
    least, most = float(X.min()), float(X.max())
    if span == BYTES or (span == UNIT and HALF_GREY < most <= 255 and least >= 0):
        if X.dtype == np.uint8:
            return X
        if least < 0 or most > 255:
            raise data.DataError(f"{name} must hold grey levels 0..255, or 0..1; found {least:g} to {most:g}")
        whole = X.dtype.kind != "f" or (most > 1 and np.array_equal(X, np.rint(X)))
        return X.astype(np.uint8) if whole else X.astype(np.float32) / np.float32(255 if most > 1 else 1)
    slack = SLACK * (high - low)
    if least < low - slack or most > high + slack:
        raise data.DataError(
            f"{name} must hold grey levels {low:g}..{high:g}, as what was learned from; found {least:g} to {most:g}"
        )
    if span == UNIT:
        return X if X.dtype.kind == "f" else X.astype(np.float32)
    return ((X.astype(np.float64) - low) / (high - low)).astype(np.float32)


def candidates(shape: tuple[int, ...]) -> list[Augmentation | None]:
    """Return what may suit images of a shape: nothing, shifts, all distortions by half, all of them."""
    unit = min(shape[:2]) / SIDE
    return [
        None,
        *(
            Augmentation(12 * a, 0.15 * a, 0.15 * a, 1.5 * b * unit, 3 * a * unit, max(4 * unit, LEAST), shape)
            for a, b in ((0, 1), (0.5, 0.5), (1, 1))
        ),
    ]
