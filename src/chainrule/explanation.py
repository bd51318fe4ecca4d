"""What `explain` returns: the steps of a derivation, and their form as text, TeX and JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.functions import Array

AGREE = 1e-5  # what differences of steps of 6e-6 hold easily, and no wrong derivative does
SHOWN = 6  # entries of an array in TeX: half of them at either end of each axis


@dataclass(frozen=True)
class Step:
    """One line of the derivation.

    Attributes
    ----------
    number : int
        Of the equation in docs/derivation.md.
    symbol, formula : str
        As plain text: "∂ε/∂q" and "∂ε/∂z ⊙ σ′(q)".
    tex : str
        Symbol and formula in TeX.
    value : ndarray
        The numbers; shape () for a scalar.
    inserted : str
        The formula with its numbers in place of letters; only of scalars.
    difference : ndarray or None
        For a derivative, the central difference (59) of ε, entry by entry; NaN where an entry was not checked.
    """

    number: int
    symbol: str
    formula: str
    tex: str
    value: Array
    inserted: str = ""
    difference: Array | None = None

    @property
    def error(self) -> float:
        """Largest distance of value and difference, relative to the largest of the values."""
        if self.difference is None:
            return 0.0
        checked = ~np.isnan(self.difference)
        distance = np.abs(self.value - self.difference)[checked]
        return float(distance.max() / max(np.abs(self.value).max(), 1e-8)) if distance.size else 0.0


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns: the steps in order; `print` it, or take `.text()`, `.latex()`, `.json()`."""

    network: str
    x: Array
    l: Array
    steps: tuple[Step, ...]
    note: str = ""  # how x and l were scaled; where there is no derivative

    @property
    def error(self) -> float:
        """The largest error of all checked derivatives."""
        return max(step.error for step in self.steps)

    def __getitem__(self, symbol: str) -> Array:
        """Return the value of a symbol, as "∂ε/∂V"."""
        for step in self.steps:
            if step.symbol == symbol:
                return step.value
        raise KeyError(f"{symbol!r}; there are {', '.join(dict.fromkeys(s.symbol for s in self.steps))}")

    def __str__(self) -> str:
        return self.text()

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    def text(self) -> str:
        """Return the derivation as plain text."""
        lines = [self.network, *self.note.splitlines(), f"x = {_numbers(self.x)}    l = {_numbers(self.l)}", ""]
        for step in self.steps:
            inserted = f" = {step.inserted}" if step.inserted else ""
            head = f"{f'({step.number})':>5}  {step.symbol} = {step.formula}{inserted}"
            if step.value.ndim == 0:
                lines.append(f"{head} = {_numbers(step.value)}")
            else:
                lines += [f"{head}   {_shape(step.value)}", _indent(_numbers(step.value))]
            if step.difference is not None:
                checked = int((~np.isnan(step.difference)).sum())
                part = "" if checked == step.value.size else f" ({checked} of {step.value.size} entries)"
                lines.append(_indent(_numbers(step.difference), "check: "))
                lines.append(f"       by central differences (59); apart by {step.error:.0e}, relative{part}")
        apart = [step.symbol for step in self.steps if not step.error < AGREE]
        if apart:
            lines += ["", f"NOT in agreement with central differences (59) of ε: {', '.join(dict.fromkeys(apart))}."]
        else:
            lines += ["", f"All derivatives agree with central differences (59) of ε within {self.error:.0e}."]
        return "\n".join(lines)

    def latex(self) -> str:
        """Return the derivation as a TeX `aligned` block with the equations' numbers."""
        rows = []
        for step in self.steps:
            inserted = f" = {_tex_text(step.inserted)}" if step.inserted else ""
            check = ""
            if step.difference is not None:
                check = (
                    rf"\quad \Bigl(\text{{differences: }} {_tex_array(step.difference)} {_tex_error(step.error)}\Bigr)"
                )
            rows.append(rf"({step.number})\quad {step.tex}{inserted} &= {_tex_array(step.value)}{check}")
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def json(self) -> str:
        """Return everything as JSON, all entries of all arrays."""
        steps = [
            {
                "number": step.number,
                "symbol": step.symbol,
                "formula": step.formula,
                "tex": step.tex,
                "value": step.value.tolist(),
                "inserted": step.inserted or None,
                "difference": None if step.difference is None else _json_numbers(step.difference),
                "error": None if step.difference is None else step.error,
            }
            for step in self.steps
        ]
        record = {
            "network": self.network,
            "note": self.note,
            "x": self.x.tolist(),
            "l": self.l.tolist(),
            "steps": steps,
            "error": self.error,
        }
        return json.dumps(record, ensure_ascii=False, indent=1)


# ---- numbers and letters in text and TeX -------------------------------------------------------------------------------


def plain_number(v: float) -> str:
    """Return six digits, with a true minus."""
    return f"{v:.6g}".replace("-", "−")


def _numbers(a: Array) -> str:
    if a.ndim == 0:
        return plain_number(float(a))
    return np.array2string(a, precision=6, threshold=60, edgeitems=3, max_line_width=110, floatmode="maxprec")


def _shape(a: Array) -> str:
    return "(" + ", ".join(map(str, a.shape)) + ("," if a.ndim == 1 else "") + ")"


def _indent(text: str, first: str = "") -> str:
    return "\n".join(
        "       " + (first if i == 0 else " " * len(first)) + line for i, line in enumerate(text.splitlines())
    )


def _json_numbers(a: Array) -> Any:
    return [_json_numbers(row) for row in a] if a.ndim else None if np.isnan(a) else float(a)


def with_letter(letter: str, formula: str) -> str:
    """Return a formula of p as one of another letter."""
    return re.sub(r"\bp\b", lambda _: letter, formula)


def tex_letter(name: str) -> str:
    """W2 → W_{2}."""
    return f"{name[0]}_{{{name[1:]}}}" if len(name) > 1 and name[1:].isdigit() else name


def tex_derivative(name: str) -> str:
    """Return ∂ε/∂name in TeX."""
    return rf"\frac{{\partial\varepsilon}}{{\partial {tex_letter(name)}}}"


def _tex_number(v: float) -> str:
    text = f"{v:.4g}"
    mantissa, e, exponent = text.partition("e")
    return rf"{mantissa}\cdot 10^{{{int(exponent)}}}" if e else text


def _tex_error(error: float) -> str:
    return rf"\pm {_tex_number(float(f'{error:.0e}'))}"


def _tex_text(inserted: str) -> str:
    return inserted.replace("−", "-").replace("·", r"\cdot").replace("½", r"\tfrac12").replace("²", "^2")


def _tex_array(a: Array) -> str:
    if a.ndim == 0:
        return _tex_number(float(a))
    rows = a.reshape(len(a), -1)

    def cut(items: list[str], gap: str) -> list[str]:
        return items if len(items) <= SHOWN else [*items[: SHOWN // 2], gap, *items[-SHOWN // 2 :]]

    lines = [" & ".join(cut([_tex_number(float(v)) for v in row], r"\cdots")) for row in rows]
    width = min(rows.shape[1], SHOWN + 1)
    return r"\begin{pmatrix}" + r" \\ ".join(cut(lines, " & ".join([r"\vdots"] * width))) + r"\end{pmatrix}"
