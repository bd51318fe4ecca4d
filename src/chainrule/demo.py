"""The demonstration: handwritten digits that come with scikit-learn, learned, tested and drawn in a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data import Array
from chainrule.generator import permutation

if TYPE_CHECKING:
    from chainrule.estimators import Classifier

EPOCHS = 30
TRAINING = 1437  # of 1797 digits


def learn_digits(seed: int, engine: str | None) -> tuple[Classifier, Array]:
    """Learn and show; return the model and one test image, (8, 8) grey levels."""
    from sklearn.datasets import load_digits

    from chainrule.estimators import Classifier

    digits = load_digits()
    X = (digits.data * (255 / 16)).round().astype(np.uint8)
    order = permutation(seed, 0, len(X))
    train, test = order[:TRAINING], order[TRAINING:]
    print(f"{len(train)} handwritten digits of 8 x 8 pixels to learn from, {len(test)} to be tested on\n")
    model = Classifier(
        hidden_layer_sizes=(30,), activation="sigmoid", output="sigmoid", loss="half_squared_error", solver="sgd",
        momentum=0, alpha=0, batch_size=10, learning_rate_init=3.0, max_iter=EPOCHS, tol=0, random_state=seed,
        engine=engine, verbose=True,
    )  # fmt: skip
    started = time.perf_counter()
    model.fit(X[train], digits.target[train])
    seconds = time.perf_counter() - started
    print(f"\n{model.network_.name} learned in {seconds:.2f} s by the {model.network_.engine} engine")
    probabilities = model.predict_proba(X[test])
    answers, truth = model.classes_[probabilities.argmax(axis=1)], digits.target[test]
    print(f"test accuracy: {100 * (answers == truth).mean():.1f} % of {len(test)} digits it has never seen\n")
    print(confusion(truth, answers, model.classes_))
    shown = [*np.flatnonzero(answers == truth)[:4], *np.flatnonzero(answers != truth)[:2]]
    captions = [
        f"{answers[i]} ({100 * probabilities[i].max():.0f} %)" + ("" if answers[i] == truth[i] else f", is {truth[i]}")
        for i in shown
    ]
    images = X[test].reshape(-1, 8, 8)
    print(drawings([images[i] for i in shown], captions))
    return model, images[shown[0]]


def confusion(truth: Array, answers: Array, classes: Array) -> str:
    """Rows are what it is, columns what was answered."""
    counts = np.array([[np.sum((truth == a) & (answers == b)) for b in classes] for a in classes])
    width = max(len(str(counts.max())), *(len(str(c)) for c in classes)) + 2
    lines = ["confusion matrix (rows: truth, columns: answer)"]
    lines.append(" " * width + "".join(f"{c!s:>{width}}" for c in classes))
    lines += [
        f"{c!s:>{width}}" + "".join(f"{n or '.':>{width}}" for n in row) for c, row in zip(classes, counts, strict=True)
    ]
    return "\n".join(lines) + "\n"


def drawings(images: list[Array], captions: list[str]) -> str:
    """Images side by side in characters, each with its caption; two characters a pixel."""
    encoding = (sys.stdout.encoding or "ascii").lower()
    ramp = " ░▒▓█" if "utf" in encoding else " .:*#"
    width = max(2 * images[0].shape[1], *(len(c) for c in captions)) + 3
    lines = []
    for r in range(images[0].shape[0]):
        row = ["".join(2 * ramp[int(g) * len(ramp) // 256] for g in image[r]) for image in images]
        lines.append("".join(f"{text:<{width}}" for text in row).rstrip())
    lines.append("".join(f"{caption:<{width}}" for caption in captions).rstrip())
    return "\n".join(lines)
