"""Draws docs/images/learned.png, the README's picture, with the package itself: `make pictures`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import chainrule

BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#9aa0a6"


def descent(axis: plt.Axes) -> None:
    """Gradient descent on the one-dimensional network: ε over V and U, and the path."""
    X, L = np.array([[-2.0], [0.0], [2.0]]), np.array([[0.8], [0.5], [0.2]])
    net = chainrule.Network([1, 1, 1], dtype="float64")

    def at(m: np.ndarray) -> tuple[float, np.ndarray]:
        net.parameters = [m[0], 0.0, m[1], -m[1] / 2]
        loss, (dV, _, dU, du) = net.loss_and_gradient(X, L)
        return loss, np.array([dV, dU - du / 2])

    V, U = np.meshgrid(np.linspace(-4, 4, 81), np.linspace(-6, 6, 81))
    surface = np.array([at(m)[0] for m in np.column_stack([V.ravel(), U.ravel()])]).reshape(V.shape)
    height = axis.contourf(V, U, np.sqrt(surface), levels=24, cmap="Blues_r", alpha=0.85)
    axis.figure.colorbar(height, ax=axis, ticks=[0.1, 0.2, 0.3, 0.4], label="√ε")
    starts = ((-0.6, -5.0), (1.6, 1.8), (-1.0, -1.2))
    for start in starts:
        path = chainrule.gradient_descent(lambda m: at(m)[1], start, rate=6.0, steps=250)
        axis.plot(*path.T, "-o", color=RED, markersize=1.8, linewidth=0.8)
    axis.plot(*np.transpose(starts), "o", color="white", markeredgecolor=RED, label="start", linestyle="none")
    axis.legend(frameon=False, fontsize=8, loc="upper left", labelcolor="white")
    axis.set(xlabel="V", ylabel="U", title="gradient descent on ε(V, U)")


def unknown(axis: plt.Axes) -> None:
    """A function known by sixty noisy examples."""
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(0, 10, 60))
    y = np.sin(x) * np.exp(-x / 8) + rng.normal(0, 0.08, 60)
    model = chainrule.Regressor((10,), activation="tanh", solver="lbfgs", alpha=0.1, max_iter=400, random_state=3)
    model.fit(x[:, None], y)
    fine = np.linspace(0, 10, 400)
    axis.plot(fine, np.sin(fine) * np.exp(-fine / 8), color=GREY, linewidth=4, alpha=0.6, label="unknown function")
    axis.plot(x, y, ".", color="black", markersize=4, label="60 examples")
    axis.plot(fine, model.predict(fine[:, None]), color=RED, label="learned")
    axis.set(xlabel="x", title="a function learned from examples")
    axis.legend(frameon=False, fontsize=8)


def digits(axis: plt.Axes) -> None:
    """The textbook network on handwritten digits, epoch by epoch."""
    data = load_digits()
    X, L = (data.data * (255 / 16)).astype(np.uint8), data.target
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1437], order[1437:]
    net = chainrule.Network([64, 30, 10], seed=0)
    right: list[float] = []
    history = chainrule.train(
        net, X[train], L[train], batch_size=10, learning_rate=3.0, epochs=30,
        callback=lambda h: right.append(100 * float((net.predict(X[test]).argmax(axis=1) == L[test]).mean())) and None,
    )  # fmt: skip
    epochs = np.arange(1, 31)
    axis.plot(epochs, right, color=BLUE)
    axis.set(xlabel="epoch", ylim=(60, 100), title=f"digits: 64-30-10 in {sum(history.seconds):.2f} s")
    axis.set_ylabel("right of the test digits, %", color=BLUE)
    loss = axis.twinx()
    loss.plot(epochs, history.loss, color=RED)
    loss.set_ylabel("training loss ε", color=RED)
    loss.set_ylim(bottom=0)


def main() -> None:
    """Draw it."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for draw, axis in zip((descent, unknown, digits), axes, strict=True):
        draw(axis)
    figure.tight_layout()
    target = Path(__file__).parent / "images" / "learned.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
