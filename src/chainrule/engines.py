"""Which engine computes: the native one in C++, or the textbook one in NumPy. Both export the same functions.

CHAINRULE_ENGINE=reference selects the textbook engine for a whole process, CHAINRULE_ISA one of the instruction sets that
`instruction_sets()` lists; `engine=` does the former for one network.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from types import ModuleType
from typing import Any

from chainrule import reference
from chainrule.functions import choose

NAMES = ("native", "reference")

_native: Any
try:
    _native = importlib.import_module("chainrule._native")
except ImportError as error:
    _native = None
    _missing = str(error)


def instruction_sets() -> list[str]:
    """Return the instruction sets that the native engine has and this processor runs, best first."""
    return [] if _native is None else list(_native.instruction_sets())


@functools.lru_cache(maxsize=1)
def _select_instruction_set(name: str) -> None:
    if name not in instruction_sets():
        raise ValueError(
            f"CHAINRULE_ISA must be one of {', '.join(instruction_sets()) or '(none: no native engine)'} on this machine; "
            f"got {name!r}"
        )
    _native.select(name)


@functools.cache
def _fall_back() -> None:
    """Say, once a process, that the slow engine runs and how to have the fast one."""
    if _native is None:
        reason = f"its C++ core is not there ({_missing}); as a rule it was installed without a C++20 compiler"
        remedy = (
            "install one (Debian: apt install g++), then chainrule again from where it came, "
            "with pip install --force-reinstall --no-cache-dir"
        )
    else:
        reason = "this processor lacks fused multiply-add (x86-64-v3 or aarch64), which its C++ core needs"
        remedy = "nothing to be done but another machine"
    warnings.warn(
        f"chainrule runs its textbook engine in NumPy, some 50 times slower: {reason}. Remedy: {remedy}. "
        'To choose it without this message: engine="reference" or CHAINRULE_ENGINE=reference.',
        RuntimeWarning,
        stacklevel=4,
    )


def resolve(name: str | None) -> str:
    """Return the engine's name: the argument's, else that of CHAINRULE_ENGINE, else the best there is."""
    instruction_set = os.environ.get("CHAINRULE_ISA")
    if instruction_set:
        _select_instruction_set(instruction_set)
    wanted = name if name is not None else os.environ.get("CHAINRULE_ENGINE") or None
    if wanted is None:
        if instruction_sets():
            return "native"
        _fall_back()
        return "reference"
    chosen = choose("engine" if name is not None else "CHAINRULE_ENGINE", wanted, NAMES)
    if chosen == "native" and not instruction_sets():
        why = f"its C++ core cannot be loaded ({_missing})" if _native is None else "this processor lacks fma"
        raise ValueError(f"engine='native' is not to be had here: {why}; use engine='reference'")
    return chosen


def load(name: str) -> ModuleType:
    """Return the module of an engine: predict, mean_loss, loss_and_gradient, run_epochs, the Jacobians, least squares."""
    return _native if name == "native" else reference
