"""Several networks that answer together: what an estimator keeps of a fit. How it comes about: auto/learner.py."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from chainrule.data import Array, Doubles, Floats
from chainrule.elementary import exponential
from chainrule.inputs import PLAIN, Form, Inputs
from chainrule.network import Network
from chainrule.targets import Bends

AT_ONCE = 1 << 16  # rows


@dataclass
class Member:
    """A network, the form in which it is given a table, and its share in the answer."""

    network: Network
    form: Form = PLAIN
    share: float = 1.0


@dataclass(frozen=True)
class Pool:
    """How answers become one: by the mean of their logits where they are probabilities (Bordley 1982), else of themselves.

    A mean of probabilities is less sure than any of them has reason to be. The temperature makes up for what is left of that,
    or of the contrary (Guo et al. 2017). No answer is surer than n rows make it that were all answered rightly: the rule of
    succession (Laplace 1774) leaves 1/(n + 2) for the other classes together.
    """

    output: str = ""  # softmax or sigmoid, whose probabilities they are
    temperature: float = 1.0
    doubt: float = 0.0  # the share of an answer that is spread over all classes

    def after(self, rows: int, labels: int) -> Pool:
        """Return the same with the doubt that so many rows leave, of which a part falls back on the class itself."""
        classes = 2 if self.output == "sigmoid" else labels
        return replace(self, doubt=classes / ((classes - 1) * (rows + 2))) if self.output else self

    def ask(self, network: Network, rows: Array, n_threads: int = 1) -> Doubles:
        """Return what is averaged of a network's answers."""
        ask = network.logits if self.output else network.predict
        return ask(rows, n_threads=n_threads).astype(np.float64)

    def close(self, q: Floats) -> Floats:
        """Return the answer of a mean, by (32) or (53)."""
        if not self.output:
            return q
        q = q / self.temperature
        if self.output == "sigmoid":
            p, classes = 1 / (1 + exponential(-q)), 2
        else:
            e = exponential(q - q.max(axis=-1, keepdims=True))
            p, classes = e / e.cumsum(axis=-1)[..., -1:], q.shape[-1]
        return np.asarray((1 - self.doubt) * p + self.doubt / classes)


@dataclass
class Ensemble:
    """The inputs that were learned, and the networks, whose answers are averaged."""

    inputs: Inputs | None  # None: rows enter as they are
    members: list[Member]
    bends: Bends | None = None  # of the labels that were learned
    pool: Pool = field(default_factory=Pool)

    @property
    def alone(self) -> bool:
        """Whether it is one network that answers, as it is."""
        return len(self.members) == 1 and self.pool.temperature == 1 and not self.pool.doubt

    def encode(self, table: Array, member: Member) -> Array:
        """Return what a member is given of the rows of a table."""
        if self.inputs is None:
            return table
        return self.inputs.encode(table, member.form, member.network.dtype.name)

    def straight(self, z: Floats) -> Floats:
        """Return what a network has learned to answer as labels."""
        return z if self.bends is None else self.bends.undo(z.astype(np.float64))

    def answer(self, table: Array, n_threads: int = 1) -> Floats:
        """Return the mean of the members' outputs for the rows of a table; (n, k)."""
        if len(table) > AT_ONCE:  # encoded they take many times their memory
            some = (table[first : first + AT_ONCE] for first in range(0, len(table), AT_ONCE))
            return np.concatenate([self.answer(part, n_threads) for part in some])
        encoded: dict[tuple[Form, str], Array] = {}
        total: Floats | None = None
        for member in self.members:
            kind = (member.form, member.network.dtype.name)
            if kind not in encoded:
                encoded[kind] = self.encode(table, member)
            if self.alone:
                return self.straight(member.network.predict(encoded[kind], n_threads=n_threads))
            part = member.share * self.straight(self.pool.ask(member.network, encoded[kind], n_threads))
            total = part if total is None else total + part
        assert total is not None
        return self.pool.close(total)
