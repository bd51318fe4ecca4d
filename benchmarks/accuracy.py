"""How right it is untuned, beside CatBoost, LightGBM, scikit-learn and RealMLP; how far dense networks go on digits.

    make bench-accuracy                                     everything, some three hours on two cores
    make bench-accuracy ACCURACY="--part tables --quick"    the small tables, and a short line of digits: five minutes
    make bench-accuracy ACCURACY="--line 784-300-10"        one line of the ladder of digits

tables   test errors of every method's defaults on the standard splits, paired: each method learns from the same rows, in a
         process of its own on the same cores. What is not installed is left out.
probabilities
         how often what is said to be as probable comes true, and log losses, of made tables whose two classes overlap.
digits   the ladder: for each line a network, or several, on the 60,000 images of MNIST; the test images are looked at once.

The data are not the project's: CHAINRULE_DATA names a folder with uci/ and mnist/ (default: ../shared/data). Figures are kept
in docs/accuracy.json; from all that it holds docs/accuracy.md and its picture are written. The settings of the ladder were
chosen on the last 10,000 training images; how digits made upright are distorted, on a third of those who wrote them, as those
of the test images are other people (QMNIST says who wrote which: Yadav & Bottou 2019). The project's defaults were chosen on
other splits and other data than those here.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import logging
import multiprocessing
import os
import time
import traceback
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from bench import processor
from development import DATA, overlap

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs" / "accuracy.json"
PAGE = ROOT / "docs" / "accuracy.md"

# Tables, how many of their splits are run, and what of their errors is shown.
TABLES = {
    "yacht": (5, 1), "energy": (5, 1), "concrete": (5, 1), "wine-quality-red": (5, 1), "kin8nm": (2, 1),
    "power-plant": (2, 1), "naval-propulsion-plant": (2, 1e5), "protein-tertiary-structure": (2, 1),
}  # fmt: skip
SMALL = ("yacht", "energy", "concrete", "wine-quality-red")
PATIENCE = 600  # seconds that a method may take for a fit


# ---- methods: X, y of the training rows, X of the others, cores -> predictions -------------------------------------------


def ours(X, y, other, cores):
    from chainrule import Regressor

    return Regressor(random_state=0, n_threads=cores).fit(X, y).predict(other)


def catboost(X, y, other, cores):
    from catboost import CatBoostRegressor

    model = CatBoostRegressor(random_seed=0, thread_count=cores, verbose=False, allow_writing_files=False)
    return model.fit(X, y).predict(other)


def lightgbm(X, y, other, cores):
    from lightgbm import LGBMRegressor

    return LGBMRegressor(random_state=0, n_jobs=cores, verbose=-1).fit(X, y).predict(other)


def scikit_learn(X, y, other, cores):
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler())
    return make_pipeline(StandardScaler(), network).fit(X, y).predict(other)


def realmlp(X, y, other, cores):
    from pytabkit import RealMLP_TD_Regressor

    logging.disable(logging.INFO)  # of what trains it

    model = RealMLP_TD_Regressor(random_state=0, n_threads=cores, device="cpu", verbosity=0)
    return model.fit(X, y).predict(other)


METHODS = {  # and the package that each needs
    "chainrule": (ours, "chainrule"),
    "CatBoost": (catboost, "catboost"),
    "LightGBM": (lightgbm, "lightgbm"),
    "scikit-learn": (scikit_learn, "scikit-learn"),
    "RealMLP": (realmlp, "pytabkit"),
}


LOADED = {"chainrule": "chainrule.estimators", "scikit-learn": "sklearn.neural_network"}  # before time is taken


def table(name: str):
    held = np.load(DATA / "uci" / f"{name}.npz")
    return held["X"].astype(np.float64), held["y"].astype(np.float64), held


def work(pipe, method: str, name: str, split: int, cores: int) -> None:
    """One fit, in a process of its own: the error and the seconds, imports not counted."""
    try:
        warnings.simplefilter("ignore")
        X, y, held = table(name)
        train, test = held[f"train_{split}"], held[f"test_{split}"]
        function, package = METHODS[method]
        importlib.import_module(LOADED.get(package, package))
        started = time.perf_counter()
        answers = function(X[train], y[train], X[test], cores)
        seconds = time.perf_counter() - started
        pipe.send((float(np.sqrt(np.mean((np.ravel(answers) - y[test]) ** 2))), seconds))
    except Exception:
        pipe.send(traceback.format_exc())


def run_alone(*arguments):
    """What `work` sends of its arguments; nothing where it takes too long."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    answer = mine.recv() if mine.poll(PATIENCE) else f"took over {PATIENCE} s"
    process.kill()
    return answer


def run_tables(kept: dict, names, methods, splits: int | None, cores: int) -> None:
    for name in names:
        count = min(TABLES[name][0], splits or TABLES[name][0])
        for split in range(count):
            for method in methods:
                answer = run_alone(method, name, split, cores)
                if isinstance(answer, str):
                    print(f"{name} {split} {method}: {answer.strip().splitlines()[-1]}", flush=True)
                    continue
                error, seconds = answer
                print(f"{name:28s} {split}  {method:13s} {error * TABLES[name][1]:9.4g}  {seconds:7.2f} s", flush=True)
                kept["tables"].setdefault(name, {}).setdefault(method, {})[str(split)] = [error, seconds]
                kept["versions"][method] = [version(METHODS[method][1]), processor()]
                save(kept)


# ---- probabilities -------------------------------------------------------------------------------------------------------

NOISY, OTHERS, STRENGTH = 10, 50_000, 0.7  # tables, rows to be judged by, and how far apart the classes are
ROWS = 3000, 20_000  # to learn from
FLOOR = "all but the share"


def classifiers(cores: int) -> dict:
    """Of each method that has probabilities, a maker of its classifier."""

    def ours():
        from chainrule import Classifier

        return Classifier(random_state=0, n_threads=cores)

    def catboost():
        from catboost import CatBoostClassifier

        return CatBoostClassifier(random_seed=0, thread_count=cores, verbose=False, allow_writing_files=False)

    def lightgbm():
        from lightgbm import LGBMClassifier

        return LGBMClassifier(random_state=0, n_jobs=cores, verbose=-1)

    def scikit_learn():
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), MLPClassifier(random_state=0))

    return {"chainrule": ours, "CatBoost": catboost, "LightGBM": lightgbm, "scikit-learn": scikit_learn}


def told_all_but_the_share(odds, y, odds_other):
    """The true probabilities of other rows, but for how frequent the classes are: the likeliest by the labels."""
    shift = brentq(lambda s: (1 / (1 + np.exp(-odds - s)) - y).sum(), -9, 9)
    p = 1 / (1 + np.exp(-odds_other - shift))
    return np.column_stack([1 - p, p])


def run_probabilities(kept: dict, methods, cores: int) -> None:
    warnings.simplefilter("ignore")
    makers = {m: make for m, make in classifiers(cores).items() if m in methods}
    for rows, method in itertools.product(ROWS, [*makers, FLOOR]):
        found = []
        for k in range(NOISY):
            X, y, odds = overlap(np.random.default_rng(9000 + k), rows + OTHERS, STRENGTH)
            if method == FLOOR:
                P = told_all_but_the_share(odds[:rows], y[:rows], odds[rows:])
            else:
                P = makers[method]().fit(X[:rows], y[:rows]).predict_proba(X[rows:]).astype(np.float64)
            loss = -np.log(np.maximum(P[np.arange(OTHERS), y[rows:]], 1e-12)).mean()
            # Of labels drawn by these probabilities themselves: what chance alone makes.
            drawn = (np.random.default_rng(k).random(OTHERS) < P[:, 1]).astype(int)
            found.append([calibration_error(P, y[rows:]), float(loss), calibration_error(P, drawn)])
        off, loss, chance = np.mean(found, axis=0)
        said = f"calibration error {100 * off:.2f} %  log loss {loss:.4f}  chance {100 * chance:.2f} %"
        print(f"{rows} rows, {method:17s} {said}", flush=True)
        kept["probabilities"].setdefault(str(rows), {})[method] = found
        save(kept)


# ---- digits --------------------------------------------------------------------------------------------------------------


def digits():
    from chainrule import files

    examples = files.read(DATA / "mnist")
    return examples.X, examples.y.astype(int), examples.test.X, examples.test.y.astype(int)


def sigmoids(X, y, cores):
    """The derivation's own network: 300 sigmoids, half the squared error, stochastic gradient descent."""
    return networks(X, y, cores, [300], "sigmoid", "sigmoid", "half_squared_error", solver="sgd", batch_size=10,
                    learning_rate=2.0, epochs=40, schedule="cosine")  # fmt: skip


def cross_entropy(X, y, cores):
    return networks(X, y, cores, [800], "relu", learning_rate=0.004, epochs=60, label_smoothing=0.1, weight_decay=0.3)


def no_order(X, y, cores):
    """No use is made of where a pixel is."""
    return networks(X, y, cores, [1024, 1024], "gelu", epochs=80, count=2, adversarial=0.1, dropout=[0.1, 0.2, 0.2],
                    learning_rate=0.001, weight_decay=0.03)  # fmt: skip


def distorted(X, y, cores):
    from chainrule import Augmentation

    return networks(X, y, cores, [800], "gelu", augment=Augmentation(), epochs=400, learning_rate=0.001,
                    weight_decay=0.03)  # fmt: skip


def straightened(X, y, cores, epochs, hidden, count=1):
    """The digits are made upright, then distorted."""
    from chainrule import Augmentation

    little = Augmentation(rotation=8, shear=0.08, shift=0.75, elastic=5, smoothness=8)
    answer = networks(upright(X), y, cores, hidden, "gelu", augment=little, dropout=[0, *(0.1 for _ in hidden)],
                      epochs=epochs, learning_rate=0.001, weight_decay=0.1, label_smoothing=0.05,
                      count=count)  # fmt: skip
    return lambda images: answer(upright(images))


def upright(X):
    """Shear each image so that, going down, its rows lie neither more to the right nor to the left (LeCun et al. 1998)."""
    images, at = X.reshape(-1, 28, 28).astype(np.float32), np.arange(28, dtype=np.float32)
    by_row, moment = images.sum(axis=2), images @ at
    mass = np.maximum(by_row.sum(axis=1), 1)
    below = at - (by_row @ at / mass)[:, None]
    beside = moment - by_row * (moment.sum(axis=1) / mass)[:, None]
    slant = (below * beside).sum(axis=1) / np.maximum((below**2 * by_row).sum(axis=1), 1)
    source = np.clip(at + (slant[:, None] * below)[..., None], 0, 27)  # (n, y, x)
    left = np.minimum(source.astype(int), 26)
    of_right = source - left
    value = np.take_along_axis(images, left, 2) * (1 - of_right) + np.take_along_axis(images, left + 1, 2) * of_right
    return np.round(value).astype(np.uint8).reshape(len(X), -1)


def networks(X, y, cores, hidden, activation, output="softmax", loss="cross_entropy", count=1, **how):
    """Train some networks, and return what answers by the mean of their probabilities."""
    from chainrule import Network, train

    how = {"solver": "adamw", "batch_size": 128, "schedule": "onecycle", **how}
    if how["solver"] == "adamw":
        how = {"beta2": 0.99, **how}
    made = []
    for seed in range(count):
        network = Network([784, *hidden, 10], activation, output, seed=seed)
        train(network, X, y, loss=loss, n_threads=cores, seed=seed, **how)
        made.append(network)
    return lambda images: np.mean([network.predict(images, n_threads=cores) for network in made], axis=0)


def untouched(X, y, cores):
    from chainrule import Classifier

    return Classifier(random_state=0, n_threads=cores).fit(X, y).predict_proba


LADDER = {  # how it is learned, in words, and what is known
    "784-300-10": (sigmoids, "sigmoids, half the squared error, plain gradient descent", "4.7 % (LeCun 1998, same)"),
    "784-800-10": (cross_entropy, "relu, cross-entropy, labels smoothed", "1.6 % (Simard 2003)"),
    "any order": (
        no_order, "two of 784-1024-1024-10, dropout, adversarial training", "0.95 % (Srivastava 2014)"),
    "784-800-10 distorted": (distorted, "gelu, distorted anew in each epoch", "0.7 % (Simard 2003)"),
    "784-1000-500-10 distorted": (
        lambda *a: straightened(*a, epochs=450, hidden=[1000, 500]),
        "gelu, dropout, made upright, then distorted anew in each epoch", "0.44 % (Ciresan 2010)"),
    "several distorted": (
        lambda *a: straightened(*a, epochs=450, hidden=[1500, 750], count=2),
        "two of 784-1500-750-10, as the one above", "0.35 % (Ciresan 2010)"),
    "Classifier()": (untouched, "without an argument", "2.2 % (scikit-learn's default)"),
}  # fmt: skip


def calibration_error(P, y, bins=15):
    """Mean distance between how sure the answers are and how often they are right, in bins of the former."""
    sure, right = P.max(axis=1), P.argmax(axis=1) == y
    of = np.minimum((sure * bins).astype(int), bins - 1)
    parts = [of == k for k in range(bins) if (of == k).any()]
    return float(sum(abs(sure[rows].mean() - right[rows].mean()) * rows.mean() for rows in parts))


def run_digits(kept: dict, lines, cores: int) -> None:
    X, y, X_test, y_test = digits()
    for line in lines:
        started = time.perf_counter()
        answer = LADDER[line][0](X, y, cores)
        seconds = time.perf_counter() - started
        P = answer(X_test)
        wrong, sure = float((P.argmax(axis=1) != y_test).mean()), calibration_error(P, y_test)
        print(f"{line:28s} {100 * wrong:.2f} %  {seconds:7.1f} s  calibration {100 * sure:.2f} %", flush=True)
        kept["digits"].setdefault(line, []).append([LADDER[line][1], wrong, seconds, sure, processor()])
        save(kept)


def run_quick_digits(kept: dict, cores: int) -> None:
    """A tenth of the images: whether all of it still runs, and learns."""
    X, y, X_test, y_test = digits()
    P = untouched(X[:3000], y[:3000], cores)(X_test)
    wrong = float((P.argmax(axis=1) != y_test).mean())
    print(f"Classifier() of 3,000 images: {100 * wrong:.2f} %", flush=True)
    if wrong > 0.03:
        raise SystemExit("of 3,000 images more than 3 % of errors were learned")


# ---- the page ------------------------------------------------------------------------------------------------------------


def empty() -> dict:
    return {"tables": {}, "probabilities": {}, "digits": {}, "versions": {}}


def load() -> dict:
    return empty() | (json.loads(KEPT.read_text()) if KEPT.exists() else {})


def save(kept: dict) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def mean_and_error(values) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.4g} ± {error:.2g}" if len(values) > 1 else f"{values[0]:.4g}"


def page(kept: dict) -> str:
    each = sorted(kept["versions"].items())
    one = len({on for _, (_, on) in each}) == 1  # processor
    versions = ", ".join(f"{name} {number}" + ("" if one else f" ({on})") for name, (number, on) in each)
    lines = [
        "# How right it is, untuned",
        "",
        "Made by `make bench-accuracy` (benchmarks/accuracy.py says what is measured). Every method as it comes, without an",
        f"argument, on two cores{f' ({each[0][1][1]})' if one else ''}: {versions}.",
        "",
        "## Tables",
        "",
        "Root mean squared errors on the test rows of the standard splits of eight tables, mean ± standard error; below, the",
        "seconds of a fit. The splits of a table overlap, so methods are to be compared pairwise: the last column counts on",
        "how many splits the project's error is lower than the best peer's.",
        "",
    ]
    methods = [m for m in METHODS if any(m in of for of in kept["tables"].values())]
    lines += [f"| | {' | '.join(methods)} | |", f"|---|{'---|' * (len(methods) + 1)}"]
    for name in TABLES:
        of = kept["tables"].get(name)
        if not of:
            continue
        unit = TABLES[name][1]
        cells = []
        for method in methods:
            runs = of.get(method, {})
            shown = [unit * error for error, _ in runs.values()]
            seconds = np.mean([s for _, s in runs.values()]) if runs else 0
            cells.append(f"{mean_and_error(shown)}<br>{seconds:.1f} s" if runs else f"over {PATIENCE} s")
        lines.append(f"| {name}{f' (1/{unit:g})' if unit != 1 else ''} | {' | '.join(cells)} | {wins(of)} |")
    lines += [
        "",
        "![Errors of each method, the project's = 1](images/accuracy.svg)",
        "",
        "## Probabilities",
        "",
        f"Of {NOISY} made tables of two classes that overlap, and {OTHERS:,} rows to be judged by, mean ± standard error:",
        "how far what is said to be as probable, in 15 bins, is from how often it comes true; how much of that chance alone",
        "makes, of labels drawn by these probabilities; and the log loss. The last line knows the truth but for one number,",
        "how frequent the classes are, which it takes from the rows: nothing that learns can be expected to do better.",
        "",
        f"| {''.join(f'| {rows:,} rows: calibration error | chance | log loss ' for rows in ROWS)}|",
        f"|---|{'---|' * 3 * len(ROWS)}",
    ]
    for method in [*METHODS, FLOOR]:
        runs = [kept["probabilities"].get(str(rows), {}).get(method) for rows in ROWS]
        if any(runs):
            lines.append(f"| {method} | {' | '.join(map(judged, runs))} |")
    lines += [
        "",
        "## Digits",
        "",
        "Dense networks on MNIST: 60,000 images to learn from, 10,000 to be judged by, looked at once for each line. 50 of",
        "them wrong, 0.50 %, have a standard error of 0.07. Settings were chosen on 10,000 or 20,000 of the 60,000. A line",
        "is run by `make bench-accuracy ACCURACY='--line \"784-800-10\"'`.",
        "",
        "| | how | known | errors | seconds | calibration error | on |",
        "|---|---|---|---|---|---|---|",
    ]
    for line, (_, how, known) in LADDER.items():
        if line in kept["digits"]:
            _, wrong, seconds, sure, on = kept["digits"][line][-1]
            shown = [line, how, known, f"**{100 * wrong:.2f} %**", f"{seconds:.0f}", f"{100 * sure:.2f} %", on]
            lines.append(f"| {' | '.join(shown)} |")
    lines += [
        "",
        "Where labels are smoothed, probabilities are those of the smoothed ones.",
    ]
    for line, readings in kept["digits"].items():
        if len(readings) > 1:
            shown = "; ".join(f"{100 * wrong:.2f} % ({how})" for how, wrong, *_ in readings)
            lines += ["", f"The test images were looked at {len(readings)} times for {line}: {shown}."]
    return "\n".join(lines) + "\n"


def judged(found) -> str:
    """The cells of a method's probabilities: calibration error, what chance makes of it, log loss."""
    if not found:
        return " | | "
    off, loss, chance = np.transpose(found)
    return f"{mean_and_error(100 * off)} % | {100 * chance.mean():.2f} % | {mean_and_error(loss)}"


def wins(of: dict) -> str:
    peers = {m: runs for m, runs in of.items() if m != "chainrule" and runs}
    mine = of.get("chainrule", {})
    if not mine or not peers:
        return ""
    best = min(peers, key=lambda m: np.mean([error for error, _ in peers[m].values()]))
    both = [split for split in mine if split in peers[best]]
    return f"{sum(mine[s][0] < peers[best][s][0] for s in both)} of {len(both)} ({best})"


def picture(kept: dict, path: Path) -> None:
    """For each table how many times the project's error each peer's is."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "chainrule"
    names = [name for name in TABLES if "chainrule" in kept["tables"].get(name, {})]
    colours = {"CatBoost": "#1f5fa8", "LightGBM": "#c0392b", "scikit-learn": "#9aa0a6", "RealMLP": "#2e8b57"}
    figure, axis = plt.subplots(figsize=(7.2, 0.45 * len(names) + 1.1))
    for row, name in enumerate(reversed(names)):
        of = kept["tables"][name]
        for method, colour in colours.items():
            both = [split for split in of["chainrule"] if split in of.get(method, {})]
            if both:
                ratio = np.mean([of[method][s][0] for s in both]) / np.mean([of["chainrule"][s][0] for s in both])
                axis.plot(ratio, row, "o", color=colour, label=method if row == 0 else None)
    axis.axvline(1, color="black", linewidth=0.9)
    axis.set(xscale="log", xlabel="error, chainrule = 1")
    ticks = [1, 2, 5, 10, 20, 50]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_yticks(range(len(names)), list(reversed(names)))
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, 1.16), ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("tables", "probabilities", "digits"), help="default: all")
    parser.add_argument("--only", help="of the tables those, as yacht,energy")
    parser.add_argument("--methods", help="those, as chainrule,CatBoost")
    parser.add_argument("--line", choices=LADDER, help="of the digits this one")
    parser.add_argument("--quick", action="store_true", help="small tables, one split, and a short line of digits")
    parser.add_argument(
        "--cores", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    )
    options = parser.parse_args()
    if not (DATA / "uci").is_dir() or not (DATA / "mnist").is_dir():
        raise SystemExit(f"{DATA} has no uci/ and mnist/: set CHAINRULE_DATA to a folder that has")
    kept = empty() if options.quick else load()
    methods = [m for m in (options.methods.split(",") if options.methods else METHODS) if installed(METHODS[m][1])]
    names = options.only.split(",") if options.only else SMALL if options.quick else tuple(TABLES)
    if options.quick:
        global KEPT
        KEPT = ROOT / "build" / "accuracy-quick.json"
    if options.part in (None, "tables") and not options.line:
        run_tables(kept, names, methods, 1 if options.quick else None, options.cores)
    if options.quick:
        return run_quick_digits(kept, options.cores)
    if options.part in (None, "probabilities") and not options.line:
        run_probabilities(kept, methods, options.cores)
    if options.part in (None, "digits") or options.line:
        run_digits(kept, [options.line] if options.line else list(LADDER), options.cores)
    PAGE.write_text(page(kept), encoding="utf-8")
    if any("chainrule" in of for of in kept["tables"].values()):
        picture(kept, ROOT / "docs" / "images" / "accuracy.svg")
    return None


if __name__ == "__main__":
    main()
