"""Learns unknown functions from examples: dense networks, with the derivation in the code.

The way of a number, module by module:
rows -> network -> functions -> reference | the C++ engine -> optimizers, schedules -> training -> estimators -> the answer;
`derivation` explains it, `export` takes it away, `cli` does all of it from a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import files as files
from chainrule.derivation import explain
from chainrule.export import load, save
from chainrule.images import Augmentation
from chainrule.network import Network
from chainrule.optimizers import gradient_descent
from chainrule.training import train

if TYPE_CHECKING:
    from chainrule.estimators import Classifier, Regressor

__version__ = "0.1.0"
__all__ = ["Augmentation", "Classifier", "Network", "Regressor", "explain", "gradient_descent", "load", "save", "train"]


def __getattr__(name: str) -> Any:
    # The estimators bring scikit-learn along, most of a second: only when they are asked for.
    if name in ("Classifier", "Regressor"):
        from chainrule import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'chainrule' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
