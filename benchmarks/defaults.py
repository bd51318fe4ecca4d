"""What pays: of the defaults one is changed at a time, on the tables of development.py. Writes docs/defaults.md.

    make bench-defaults                                        all that is not yet in docs/defaults.json, over two hours
    make bench-defaults DEFAULTS="--part ideas"                regressions, classes, columns, or ideas (needs jax)
    make bench-defaults DEFAULTS="--only 'no bins' --again"    one line anew

A line is a whole fit of every table, or for the ideas a network alone, on one core; several lines run at once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np

from development import DATA, Table, classifications, regressions, wide

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "docs" / "defaults.json", ROOT / "docs" / "defaults.md"
BASE = "as it is"
LITTLE = 0.02  # is added to log losses before they are compared: some are next to 0
SMALLEST = 1e-12  # probability
CLEAR = 0.01  # by which an error is called better or worse


# ---- changes: each is made to the modules of a process of its own ----------------------------------------------------------


def recipe(**fields):
    """Change the fields of the first of the large recipes; one may be given as a function of the recipe."""

    def make():
        from chainrule.auto import planning

        made = planning.by_batches

        def changed(*arguments):
            first, *others = made(*arguments)
            return [replace(first, **{k: f(first) if callable(f) else f for k, f in fields.items()}), *others]

        planning.by_batches = changed

    return make


def units(n: int):
    """Change the units of its hidden layers."""
    return recipe(hidden=lambda r: (n,) * len(r.hidden))


def constant(module: str, **values):
    """Change constants of a module of the package."""

    def make():
        import importlib

        for name, value in values.items():
            setattr(importlib.import_module(f"chainrule.{module}"), name, value)

    return make


def form(bins: int, waves: int, units: int):
    def make():
        from chainrule.auto import recipes
        from chainrule.inputs import Form

        recipes.EMBEDDINGS = tuple(Form(bins, waves, u) for u in (units, max(units // 2, 1), max(units // 4, 1)))

    return make


def adversarial(size: float):
    def make():
        from chainrule.auto import recipes

        train = recipes.train
        recipes.train = lambda *a, **k: train(*a, **k | ({} if k["solver"] == "bayesian" else {"adversarial": size}))

    return make


def without(what: str):
    def make():
        from chainrule import ensemble, estimators, problem, rows
        from chainrule.auto import learner, planning

        if what == "evidence":
            planning.by_evidence = lambda *_: []
        elif what == "bends":
            estimators.Bends.learn = classmethod(lambda *_: None)
        elif what == "gentle":
            made = planning.by_batches
            planning.by_batches = lambda *a: made(*a)[:-1]
        elif what == "shares":
            learner.choose_shares = even(learner.choose_shares)
        elif what == "robust":
            learn = rows.Inputs.learn
            rows.Inputs.learn = classmethod(
                lambda cls, columns, table, scaling, weight=None: center(learn(columns, table, scaling, weight), table)
            )
        elif what == "logarithms":
            problem.Problem.pool = ensemble.Pool()
            problem.Problem.constant = lambda _, labels, weight: problem.mean_known(labels, np.ones(labels.shape))[None]
            loss = problem.Problem.mean_loss
            problem.Problem.mean_loss = lambda self, z, *of: loss(self, np.log(np.maximum(z, SMALLEST)), *of)

    return make


def even(choose):
    """All recipes whose networks are trained get equal shares."""

    def chosen(trials, *arguments):
        result = choose(trials, *arguments)
        used = [t for t in trials if len(t.folds) == max(len(t.folds) for t in trials)]
        for trial in trials:
            trial.share = 1 / len(used) if trial in used else 0.0
        return result

    return chosen


def center(inputs, table):
    """Scale by mean and deviation, outliers as they are."""
    for column in inputs.columns:
        j = inputs.columns.index(column)
        if column.far and not np.isnan(table[:, j]).any():
            column.center, column.scale = float(table[:, j].mean()), float(table[:, j].std()) or 1.0
            column.far = 0.0
    return inputs


REGRESSIONS = {
    BASE: lambda: None,
    "no embedding: numbers as they are, and as bins": constant("auto.recipes", EMBEDDED=0),
    "no waves": form(32, 0, 8),
    "no bins": form(0, 16, 8),
    "16 units a column": form(32, 16, 16),
    "4 units a column": form(32, 16, 4),
    "waves twice as fast": constant("inputs", FASTEST=1.2),
    "waves half as fast": constant("inputs", FASTEST=0.3),
    "tanh instead of silu": recipe(activation="tanh"),
    "relu instead of silu": recipe(activation="relu"),
    "gelu instead of silu": recipe(activation="gelu"),
    "twice the units": recipe(hidden=lambda r: tuple(2 * n for n in r.hidden)),
    "96 units also with many rows": units(96),
    "128 units also with few rows": units(128),
    "constant rate, a third of it": recipe(schedule="constant", learning_rate=lambda r: r.learning_rate / 3),
    "cosine instead of one cycle": recipe(schedule="cosine"),
    "no weight decay": recipe(weight_decay=0.0),
    "weight decay 0.1": recipe(weight_decay=0.1),
    "dropout 0.1": recipe(dropout=lambda r: (0.0, 0.0, *(0.1,) * len(r.hidden))),
    "adversarial 0.03": adversarial(0.03),
    "two thirds of the epochs": recipe(epochs=lambda r: max(3, 2 * r.epochs // 3)),
    "twice the epochs": recipe(epochs=lambda r: 2 * r.epochs),
    "no networks by the evidence": without("evidence"),
    "all widths by the evidence tried": constant("auto.planning", LEADING=((5,), (10,), (20,), (8, 8))),
    "targets never bent": without("bends"),
    "inputs by mean and deviation": without("robust"),
    "equal shares": without("shares"),
    "4 parts of the rows": constant("auto.task", PARTS=4),
}
CLASSES = {
    BASE: lambda: None,
    "no embedding: numbers as they are, and as bins": constant("auto.recipes", EMBEDDED=0),
    "no waves": form(32, 0, 8),
    "no bins": form(0, 16, 8),
    "as many epochs as of regressions": constant("auto.recipes", OF_CLASSES=1.0),
    "half the epochs": recipe(epochs=lambda r: max(3, r.epochs // 2)),
    "weight decay 0.02": recipe(weight_decay=0.02),
    "weight decay 3": recipe(weight_decay=3.0),
    "no label smoothing": recipe(label_smoothing=0.0),
    "label smoothing 0.1": recipe(label_smoothing=0.1),
    "adversarial 0.05": adversarial(0.05),
    "128 units also with few rows": units(128),
    "dropout 0.2": recipe(dropout=lambda r: (0.0, 0.0, *(0.2,) * len(r.hidden))),
    "no gentle networks": without("gentle"),
    "none let go": constant("auto.recipes", KNOWN=1 << 60),
    "let go also with few rows": constant("auto.recipes", KNOWN=0),
    "probabilities averaged": without("logarithms"),
    "equal shares": without("shares"),
}
COLUMNS = {
    BASE: lambda: None,
    "all columns, always": constant("auto.planning", MANY=1 << 60),
    "none that least squares takes": constant("auto.relevance", taken_one_by_one=lambda *_: []),
    "those worth 0.003 of what the best is, not 0.01": constant("auto.relevance", LEAST=0.003),
    "those worth 0.03": constant("auto.relevance", LEAST=0.03),
    "no bar by the middle": constant("auto.relevance", ABOVE=0.0),
    "a bar by twice the middle": constant("auto.relevance", ABOVE=2.0),
    "a tenth of the epochs to see what counts": constant("auto.planning", SCOUT=0.1),
    "half of the epochs": constant("auto.planning", SCOUT=0.5),
}
PARTS = {"regressions": (REGRESSIONS, regressions), "classes": (CLASSES, classifications), "columns": (COLUMNS, wide)}


# ---- running ---------------------------------------------------------------------------------------------------------------


def judge(table: Table) -> list[float]:
    """The error, or the log loss and the share of errors, of the estimator on the table's other rows."""
    from chainrule import Classifier, Regressor

    if table.y.dtype.kind == "f":
        z = Regressor(random_state=0, n_threads=1).fit(table.X, table.y).predict(table.X_other)
        return [float(np.sqrt(np.mean((z - table.y_other) ** 2)))]
    P = Classifier(random_state=0, n_threads=1).fit(table.X, table.y).predict_proba(table.X_other)
    of_right = np.maximum(P[np.arange(len(P)), table.y_other], SMALLEST)
    return [float(-np.log(of_right).mean()) + LITTLE, float((P.argmax(axis=1) != table.y_other).mean())]


def run(part: str, line: str) -> dict:
    """The errors of each table, and the seconds of processor time, of a line."""
    warnings.simplefilter("ignore")
    found: dict = {"tables": {}, "seconds": 0.0}
    if part == "ideas":
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        import ideas

        def of(table):
            return [ideas.error("" if line == BASE else line, table)]
    else:
        PARTS[part][0][line]()
        of = judge

    for table in regressions() if part == "ideas" else PARTS[part][1]():
        if part == "ideas" and table.X.shape[1] > 20:
            continue  # without the engine's embedding it takes minutes
        started = time.process_time()
        found["tables"].setdefault(table.name, []).append(of(table))
        found["seconds"] += time.process_time() - started
    return found


def lines_of(part: str) -> list[str]:
    if part != "ideas":
        return list(PARTS[part][0])
    from ideas import IDEAS

    return [BASE, *IDEAS]


# ---- the page --------------------------------------------------------------------------------------------------------------


def compared(found: dict, base: dict) -> tuple[float, list[tuple[str, float]], float]:
    """The geometric mean of a line's errors over the base's, each table's, and the seconds over the base's."""
    each = [
        (name, float(np.exp(np.mean([np.log(a[0] / b[0]) for a, b in zip(runs, base["tables"][name], strict=True)]))))
        for name, runs in found["tables"].items()
        if name in base["tables"]  # a table may be newer than a line that is kept
    ]
    return float(np.exp(np.mean([np.log(r) for _, r in each]))), each, found["seconds"] / base["seconds"]


HEADS = {
    "regressions": ("Regressions", "Root mean squared errors of `Regressor()`."),
    "classes": ("Classes", f"Log losses of `Classifier()`, {LITTLE} added to each: some are next to 0."),
    "columns": (
        "Many columns",
        "Root mean squared errors, and log losses as above, of made tables of 40 to 300 columns, of which few say something, "
        "or all do.",
    ),
    "ideas": (
        "Ideas",
        "Of one network alone, in JAX, at the best of twenty times: what the engine does not have.",
    ),
}


def page(kept: dict) -> str:
    text = [
        "# Defaults",
        "",
        "The tables that decided, made by `make bench-defaults` (benchmarks/defaults.py): of what `solver=\"auto\"` does one",
        "thing is changed at a time. Errors are on rows not learned from, of the tables in benchmarks/development.py, which",
        "judge nothing else: made functions, thermodynamic properties, UCI tables on other splits than those of",
        "[accuracy.md](accuracy.md). A number is the error with the change over that without it, the geometric mean of all",
        "tables; above 1 the change costs. Errors differ by a hundredth or so from seed to seed.",
        "",
    ]  # fmt: skip
    for part, (title, what) in HEADS.items():
        if BASE not in kept.get(part, {}):
            continue
        base = kept[part][BASE]
        text += [
            f"## {title}",
            "",
            what,
            "",
            "| change | error | better, worse | time | most | least |",
            "|---|---|---|---|---|---|",
        ]
        for line, found in kept[part].items():
            if line == BASE:
                continue
            mean, each, seconds = compared(found, base)
            better, worse = sum(r < 1 - CLEAR for _, r in each), sum(r > 1 + CLEAR for _, r in each)
            (low, least), (high, most) = min(each, key=lambda e: e[1]), max(each, key=lambda e: e[1])
            cells = [line, f"{mean:.3f}", f"{better}, {worse} of {len(each)}", f"{seconds:.2f}"]
            text.append(f"| {' | '.join(cells)} | {high} {most:.2f} | {low} {least:.2f} |")
        text.append("")
    if "ideas" in kept:
        from ideas import IDEAS

        text += [f"- {name}: {what}" for name, what in IDEAS.items()]
    return "\n".join(text).rstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=HEADS, help="default: all")
    parser.add_argument("--only", help="this line")
    parser.add_argument("--again", action="store_true", help="lines that are there already, too")
    parser.add_argument(
        "--page", action="store_true", help="write docs/defaults.md from what is there, and run nothing"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not options.page and not ((DATA / "uci").is_dir() and (DATA / "thermo").is_dir()):
        raise SystemExit(f"{DATA} has no uci/ and thermo/: set CHAINRULE_DATA to a folder that has")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for part in () if options.page else [options.part] if options.part else HEADS:
        of_part = kept.setdefault(part, {})
        wanted = [
            line for line in lines_of(part) if options.only in (None, line) and (options.again or line not in of_part)
        ]
        # A process for each line: what one changes the next must not see.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.cores, mp_context=context, max_tasks_per_child=1) as pool:
            running = {pool.submit(run, part, line): line for line in wanted}
            for done in as_completed(running):
                of_part[running[done]] = done.result()
                print(f"{part}: {running[done]}, {done.result()['seconds']:.0f} s", flush=True)
                kept[part] = {line: of_part[line] for line in lines_of(part) if line in of_part}
                KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
