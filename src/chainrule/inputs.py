"""The columns of a table, and what a network is given of them: learned from the rows of a `fit`, kept with the model.

A table is (n, d) of float64: numbers as they are, 0 and 1 for booleans, days since 1970 for dates, the place in `classes` for
categories, −1 for one that was not there before; NaN is a missing value. An encoding is float32 (n, width): numbers
scaled, and in a richer form also as shares of bins and as waves, categories a column a class.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np

from chainrule.data import NORMAL, Array, DataError, Doubles, Floats, Indices, Scale
from chainrule.elementary import cosine, logarithm, total

KINDS = ("number", "boolean", "date", "category")
OUTLYING = 20.0  # deviations beyond which a value is an outlier; of a column that has some,
FAR = 3.0  # those from which on all are drawn in
DAY, WEEK, YEAR = 1.0, 7.0, 365.2425  # the periods of dates, in days
MONDAY = 4.0  # 1970-01-05
MOST_BINS = 64  # a number of bins divides it
FASTEST = 0.6  # turns that the fastest wave makes in a deviation
GOLDEN = 0.6180339887498949  # of a turn each wave begins later than the one before
# Each class is a column of 0 and 1: what leads from it into the first layer is its embedding, as wide as that layer. Of many
# classes the rarest share one, which is that of a class never seen, too; so do those of a single row, if these are many, as
# where a column has names.
FEW_CLASSES, MOST_CLASSES, NAMES = 64, 1024, 0.2
ONE_HOTS = 1e8  # numbers, rows times classes
# Whole numbers are taken for names where there are so many rows of each, so much of how the labels' means differ is jumps,
# and that is more than chance by so many deviations.
EACH_CODE, ROUGH, SURE = 4, 0.5, 6.0
BLOCK = 1024  # rows that are encoded at once: what comes in between stays in the caches


@dataclass(frozen=True)
class Form:
    """How a network is given a table: each number also as shares of so many bins, and as so many waves."""

    bins: int = 0
    waves: int = 0
    embedding: int = 0  # units of the first layer that are each column's own (99); 0: all units see all columns
    speed: int = 1  # of the waves
    columns: tuple[int, ...] = ()  # those it is given of the columns used, ascending; none named: all

    def __str__(self) -> str:
        waves = "waves" if self.speed == 1 else "fast waves"
        parts = [f"{count} {name}" for name, count in (("bins", self.bins), (waves, self.waves)) if count]
        return " and ".join(parts)

    @property
    def rich(self) -> bool:
        """Whether numbers are given in any other way than as they are."""
        return self.bins > 0 or self.waves > 0

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Self:
        """Return the form that was described so; ValueError where there is none."""
        counts = {name: int(count) for name, count in described.items() if name != "columns"}
        form = cls(**counts, columns=tuple(int(k) for k in described.get("columns", ())))
        fits = 0 <= form.bins <= MOST_BINS and MOST_BINS % max(form.bins, 1) == 0
        if not fits or not 0 <= form.waves <= MOST_BINS or form.embedding < 0 or not 1 <= form.speed <= MOST_BINS:
            raise ValueError(f"{form.bins} bins, {form.waves} waves x {form.speed}, an embedding of {form.embedding}")
        if list(form.columns) != sorted(set(form.columns)) or min(form.columns, default=0) < 0:
            raise ValueError(f"columns {form.columns}, which are to ascend from 0 on")
        return form


PLAIN = Form()


class _Inputs:
    """The inputs of a column (n, width), zeros at first, which are written from left to right."""

    def __init__(self, out: Array) -> None:
        self.out, self.at = out, 0

    def put(self, part: Array) -> None:
        """Write a part, (n,) or (n, some)."""
        part = part.reshape(len(part), -1)
        self.out[:, self.at : self.at + part.shape[1]] = part
        self.at += part.shape[1]

    def ones(self, places: Indices, count: int) -> None:
        """Write a 1 at each row's place of so many, none where that is −1; of many classes nearly all stays 0."""
        rows = np.flatnonzero(places >= 0)
        self.out[rows, self.at + places[rows]] = 1
        self.at += count


@dataclass
class Column:
    """What was learned of one column."""

    name: str
    kind: str
    center: float = 0.0
    scale: float = 1.0
    far: float = 0.0  # deviations from which on values are drawn in; 0: from none
    missing: bool = False  # some values were: then whether one is, is an input of its own
    quantiles: list[float] = field(default_factory=list)  # MOST_BINS + 1 of a number, from the least to the largest
    values: list[float] = field(default_factory=list)  # of a number, where there are no more than so many
    periods: list[float] = field(default_factory=list)  # of a date
    classes: list[Any] = field(default_factory=list)  # of a category, or of a boolean that was text
    own: list[int] = field(default_factory=list)  # the classes that have a column of their own, ascending
    shared: bool = False  # the others have one together
    codes: list[float] = field(default_factory=list)  # the values of a number that are names, ascending: likewise

    def edges(self, bins: int) -> Doubles:
        """Return the edges of at most so many bins: of equal numbers of rows, or from each value to the next."""
        if 0 < len(self.values) <= bins + 1:
            return np.array(self.values)
        return np.unique(self.quantiles[:: MOST_BINS // bins]) if bins and self.quantiles else np.zeros(0)

    def waves(self, form: Form) -> int:
        """Return as how many waves it is given: none of what has two values alone."""
        return form.waves if self.quantiles and not 0 < len(self.values) <= 2 else 0

    def width(self, form: Form) -> int:
        """Return how many inputs the column becomes."""
        if self.kind == "category":
            return len(self.own) + self.shared + self.missing
        shares = len(self.edges(form.bins)) - 1
        own = len(self.codes) if form.rich else 0
        return 1 + 2 * len(self.periods) + (shares if shares > 1 else 0) + self.waves(form) + own + self.missing

    def encode(self, x: Doubles, form: Form, out: Array) -> None:
        """Write the inputs (n, width) that the values x (n,) of the table become where zeros are."""
        gone, inputs = np.isnan(x), _Inputs(out)
        if self.kind == "category":
            place = np.full(len(self.classes) + 1, -1)  # the last is that of −1, a class that was not there before
            place[self.own] = np.arange(len(self.own))
            at = place[np.where(gone, -1, x).astype(np.intp)]
            inputs.ones(at, len(self.own))
            if self.shared:
                inputs.put((at < 0) & ~gone)
        else:
            known = np.where(gone, self.center, x)
            edges = self.edges(form.bins)
            near = _near(known, edges) if len(edges) > 1 else known
            z = (near - self.center) / self.scale
            z = _draw_in(z, self.far) if self.far else z
            inputs.put(z)
            for period in self.periods:
                turns = (known - MONDAY) / period
                inputs.put(np.where(gone[:, None], 0.0, _cosine(turns[:, None] - np.array([0.0, 0.25]))))
            if len(edges) > 2:  # of one bin the share is the number again
                share = np.clip((known[:, None] - edges[:-1]) / np.diff(edges), 0, 1) - 0.5
                inputs.put(np.where(gone[:, None], 0.0, share))
            if waves := self.waves(form):
                k = np.arange(waves)
                turns = form.speed * FASTEST * (1 + k) / waves * z[:, None] + GOLDEN * k
                inputs.put(np.where(gone[:, None], 0.0, _cosine(turns)))
            if self.codes and form.rich:
                codes = np.array(self.codes)
                at = np.minimum(np.searchsorted(codes, known), len(codes) - 1)
                inputs.ones(np.where(gone | (codes[at] != known), -1, at), len(codes))
        if self.missing:
            inputs.put(gone)


@dataclass
class Inputs:
    """The columns that were learned from, and which of them say something."""

    columns: list[Column]
    used: list[int]  # those that become inputs

    def __post_init__(self) -> None:
        used = [self.columns[j] for j in self.used]
        # Numbers alone, as most tables are, are scaled at once.
        self.plain = len(used) == len(self.columns) and not any(
            column.far or column.missing or column.kind != "number" for column in used
        )
        self.center = np.array([column.center for column in used])
        self.scale = np.array([column.scale for column in used])

    @classmethod
    def learn(cls, columns: list[Column], table: Doubles, scaling: str, weight: Doubles | None = None) -> Self:
        """Learn scales and bins from the rows of a table; `columns` has the names, the kinds and the classes.

        Scaling is robust: by median and quartiles, outliers drawn in, and columns left out that are constant or equal to one
        before; standard: by mean and deviation; or none.
        """
        robust = scaling == "robust"
        whole = Scale.of(table, weight) if scaling == "standard" and not np.isnan(table).any() else None
        used: list[int] = []
        seen: dict[bytes, int] = {}
        for j, column in enumerate(columns):
            x = table[:, j]
            gone = np.isnan(x)
            column.missing = bool(gone.any()) and not gone.all()
            known = x[~gone] if gone.any() else x
            constant = not len(known) or (known.min() == known.max() and not column.missing)
            if constant and len(known) and column.kind != "category":
                column.center = float(known[0])
            if robust and (constant or seen.setdefault(np.ascontiguousarray(x).tobytes(), j) != j):
                continue
            used.append(j)
            if column.kind == "category":
                column.own, column.shared = _classes(known, len(column.classes), len(x))
            if column.kind == "category" or not len(known):
                continue
            if robust:
                column.center, column.scale = _robust(known)
            elif whole is not None:
                column.center, column.scale = float(whole.mean[j]), float(whole.deviation[j])
            elif scaling == "standard":
                column.center, column.scale = _standard(known, None if weight is None else weight[~gone])
            if column.kind == "date":
                column.periods = _periods(known)
            if robust and column.kind != "boolean":
                furthest = max(known.max() - column.center, column.center - known.min()) / column.scale
                column.far = FAR if furthest > OUTLYING else OUTLYING
                column.quantiles = np.quantile(known, np.linspace(0, 1, MOST_BINS + 1)).tolist()
                values = np.unique(known)
                column.values = values.tolist() if len(values) <= MOST_BINS + 1 else []
        return cls(columns, used or [0])

    def find_codes(self, table: Array, labels: Floats) -> None:
        """Let whole numbers that are names, to judge by the labels, be seen one by one, too, as the classes of categories."""
        most = most_classes(len(table))
        for column, x in ((self.columns[j], table[:, j]) for j in self.used):
            if column.kind != "number" or column.values or (np.floor(x) != x)[~np.isnan(x)].any():
                continue
            values = np.unique(x[~np.isnan(x)])
            if EACH_CODE * len(values) <= len(x) and len(values) <= most and any(map(partial(_jumps, x), labels.T)):
                column.codes = values.tolist()

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return [column.name for column in self.columns]

    def given(self, form: Form) -> list[int]:
        """Return the columns that a network is given."""
        return [self.used[k] for k in form.columns] if form.columns else self.used

    def width(self, form: Form = PLAIN) -> int:
        """Return how many inputs a network has."""
        return sum(self.columns[j].width(form) for j in self.given(form))

    def groups(self, form: Form = PLAIN) -> list[int]:
        """Return the number of the column, of those given, that each input comes from."""
        return [g for g, j in enumerate(self.given(form)) for _ in range(self.columns[j].width(form))]

    def signs(self, monotone: list[int], form: Form = PLAIN) -> list[int]:
        """Return the sign of each input, where a column's is given: an answer may only rise with it, or only fall."""
        signs: list[int] = []
        for j in self.given(form):
            column = self.columns[j]
            if monotone[j] and column.kind not in ("number", "boolean"):
                raise DataError(f"monotonic_cst: column {column.name!r} is a {column.kind}; only numbers can rise")
            width = column.width(form)
            signs += [monotone[j]] * (width - column.missing) + [0] * column.missing
        return signs

    def scaled(self, table: Array, dtype: str) -> Array:
        """Return what `encode` returns of a table of numbers, where none is missing and the columns are plain."""
        return ((table - self.center) / self.scale).astype(dtype)  # type: ignore[no-any-return]

    def encode(self, table: Array, form: Form = PLAIN, dtype: str = "float32") -> Array:
        """Return what a network is given of a table: (n, width)."""
        if self.plain and not form.rich and not form.columns and not np.isnan(table).any():
            return self.scaled(table, dtype)
        given = self.given(form)
        ends = np.cumsum([0, *(self.columns[j].width(form) for j in given)])
        encoded = np.zeros((len(table), ends[-1]), dtype)
        for some in (slice(first, first + BLOCK) for first in range(0, len(table), BLOCK)):
            for j, begin, end in zip(given, ends[:-1], ends[1:], strict=True):
                self.columns[j].encode(table[some, j], form, encoded[some, begin:end])
        return encoded

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold of it: everything."""
        return {"columns": [dataclasses.asdict(column) for column in self.columns], "used": self.used}

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Self:
        """Return what `to_json` described; ValueError where it did not."""
        columns = [Column(**column) for column in described["columns"]]
        for column in columns:
            numbers = [column.center, column.scale, column.far]
            numbers += [*column.quantiles, *column.values, *column.periods, *column.codes]
            fits = column.kind in KINDS and all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)
            ascending = column.quantiles == sorted(column.quantiles) and column.values == sorted(set(column.values))
            places = column.own == sorted(set(column.own)) and set(column.own) <= set(range(len(column.classes)))
            ascending = ascending and column.codes == sorted(set(column.codes))
            if (
                not fits
                or not ascending
                or not places
                or column.scale <= 0
                or column.far < 0
                or len(column.quantiles) not in (0, MOST_BINS + 1)
            ):
                raise ValueError(f"column {column.name!r} is not one that was learned")
        used = [int(j) for j in described["used"]]
        if not used or used != sorted(set(used)) or not 0 <= used[0] <= used[-1] < len(columns):
            raise ValueError("the columns used are not of the table")
        return cls(columns, used)


def _classes(known: Doubles, classes: int, rows: int) -> tuple[list[int], bool]:
    """Return the classes that are to have a column of their own, and whether the others share one."""
    count = np.bincount(known.astype(np.intp), minlength=classes)
    if classes <= FEW_CLASSES:
        return list(range(classes)), False
    often = np.argsort(-count, kind="stable")[: most_classes(rows)]
    least = 1 if (count == 1).sum() <= NAMES * rows else 2
    own = sorted(int(k) for k in often if count[k] >= least)
    return own, len(own) < classes


def most_classes(rows: int) -> int:
    """Return how many classes have a column of their own at the most."""
    return int(np.clip(ONE_HOTS / rows, FEW_CLASSES, MOST_CLASSES))


def _jumps(x: Doubles, label: Floats) -> bool:
    """Whether a label's mean for each whole number has little to do with those for the numbers before and after.

    It is compared with the straight line between these (von Neumann 1941): beyond what the scatter about the means explains
    there is to be more, and the most of how the means differ.
    """
    known = ~(np.isnan(x) | np.isnan(label))
    values, place, count = np.unique(x[known], return_inverse=True, return_counts=True)
    k, y = len(values), label[known].astype(np.float64)
    if k <= FEW_CLASSES // 2 or len(y) <= k:
        return False

    mean = np.bincount(place, y) / count
    scatter = total((y - mean[place]) ** 2) / (len(y) - k)
    before = (values[2:] - values[1:-1]) / (values[2:] - values[:-2])
    after = 1 - before
    jump = (mean[1:-1] - before * mean[:-2] - after * mean[2:]) ** 2
    noise = scatter * (1 / count[1:-1] + before**2 / count[:-2] + after**2 / count[2:])
    rough = total((jump - noise) / (1 + before**2 + after**2)) / (k - 2)
    between = total((mean - total(mean) / k) ** 2) / (k - 1) - scatter * total(1 / count) / k
    return bool(rough > ROUGH * between and total(jump) > (1 + SURE * math.sqrt(2 / k)) * total(noise))


def _cosine(turns: Doubles) -> Doubles:
    """Return cos 2πt, the same bits on every machine."""
    return cosine(2 * np.abs(turns - np.rint(turns)))  # an even function


def _draw_in(z: Doubles, far: float) -> Doubles:
    """Draw in z's outliers, in place: beyond `far` only the logarithm counts, without a kink."""
    out = np.abs(z) > far
    z[out] = np.sign(z[out]) * (far + logarithm(1 + (np.abs(z[out]) - far)))
    return z


def _near(x: Doubles, edges: Doubles) -> Doubles:
    """Hold values near those that were seen: beyond their ends by less than the last bin is wide, without a kink.

    What many bins and waves have learned goes astray soon after.
    """
    for sign, end, reach in ((1, edges[-1], edges[-1] - edges[-2]), (-1, edges[0], edges[1] - edges[0])):
        beyond = sign * (x - end)
        if (beyond > 0).any():
            x = np.where(beyond > 0, end + sign * beyond / np.sqrt(1 + (beyond / reach) ** 2), x)
    return x


def _robust(known: Doubles) -> tuple[float, float]:
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    spread = (high - low) / NORMAL
    return float(middle), float(spread if spread > 0 else (known.max() - known.min()) / 2 or 1.0)


def _standard(known: Doubles, weight: Doubles | None) -> tuple[float, float]:
    scale = Scale.of(known[:, None], weight)
    return float(scale.mean[0]), float(scale.deviation[0])


def _periods(days: Doubles) -> list[float]:
    """Return the periods that dates go through: the year, the week, and the day where they have hours."""
    span = float(days.max() - days.min())
    periods = [YEAR] if span > YEAR / 4 else []
    if span > WEEK:
        periods.append(WEEK)
    if np.any(days != np.floor(days)):
        periods.append(DAY)
    return periods
