"""The command line: demo, fit, predict, explain. Errors are one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

import chainrule
from chainrule import data, export, files
from chainrule.cells import FINITE
from chainrule.functions import ACTIVATIONS, LOSSES, OUTPUTS
from chainrule.network import Network
from chainrule.optimizers import SOLVERS
from chainrule.schedules import SCHEDULES
from chainrule.tables import is_number

if TYPE_CHECKING:
    from chainrule.estimators import Classifier, Regressor

INTERRUPTED = 130  # what a shell expects after Ctrl-C
# What the estimators call an option of `fit`: one that is not given is left to them.
PARAMETERS = {
    "hidden": "hidden_layer_sizes",
    "learning_rate": "learning_rate_init",
    "schedule": "learning_rate",
    "epochs": "max_iter",
    "seed": "random_state",
    "threads": "n_threads",
    **{
        name: name
        for name in (
            "activation", "output", "loss", "solver", "batch_size", "momentum", "alpha", "quantile", "dropout", "bounds",
            "ensemble", "time_limit", "standardize", "dtype", "engine",
        )
    },
}  # fmt: skip
# The flags of what the library names otherwise, so that an error speaks of what was typed.
FLAGS = {"seed": "--seed", **{name: f"--{option.replace('_', '-')}" for option, name in PARAMETERS.items()}}
# Options that say something to these solvers alone.
ALONE = {"momentum": ("sgd", "momentum", "nesterov")}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = _show_warning
    warnings.filterwarnings("ignore", message="X does not have valid feature names")  # they were matched in the file
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("chainrule: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, ArithmeticError, OSError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        name, space, rest = message.partition(" ")
        message = FLAGS.get(name.partition("[")[0], name) + space + rest
        print(f"chainrule: error: {message}", file=sys.stderr)
        return 2


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"chainrule: note: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="chainrule", description="Learn an unknown function from examples.")
    parser.add_argument("--version", action="version", version=f"chainrule {chainrule.__version__}")
    commands = parser.add_subparsers(required=True, metavar="demo | fit | predict | explain", parser_class=_Parser)

    demo = commands.add_parser("demo", help="learn handwritten digits in some seconds")
    demo.add_argument("--out", type=Path, default=Path("digits.chain"), help="model file (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0)
    _engine(demo)
    demo.set_defaults(command=_demo)

    fit = commands.add_parser("fit", help="learn from a table or from images, and write a model file")
    fit.add_argument(
        "data", type=Path, help="CSV table, folder of IDX files (MNIST), or of images with one folder a class"
    )
    fit.add_argument("--target", help="column to learn; text makes it a classification")
    fit.add_argument("--out", type=Path, help="model file (default: the data's name with .chain)")
    fit.add_argument("--task", choices=("auto", "regression", "classification"), default="auto")
    fit.add_argument(
        "--solver", help=f"auto, {', '.join(SOLVERS)} (default: auto, which chooses what is not given here)"
    )
    fit.add_argument("--time-limit", type=float, metavar="SECONDS", help="that it may take (default: any number)")
    fit.add_argument(
        "--ensemble", type=int, metavar="N", help="networks of each kind that auto trains (default: by rows)"
    )
    chosen = "(default: auto chooses; with a solver named, %s)"
    fit.add_argument("--hidden", help=f"units of the hidden layers: 30 or 64,32 {chosen % '100'}")
    fit.add_argument("--activation", help=f"of the hidden layers: {', '.join(ACTIVATIONS)} {chosen % 'relu'}")
    fit.add_argument("--output", help=f"activation of the output: {', '.join(OUTPUTS)} (default: by task)")
    fit.add_argument("--loss", help=f"{', '.join(LOSSES)} (default: by task)")
    fit.add_argument(
        "--bounds", metavar="LOW,HIGH",
        help="no answer of a regression is below or above; '0,' and ',1' have an open end; a minus is written --bounds=-1,1",
    )  # fmt: skip
    fit.add_argument("--batch-size", type=int, help=f"rows a step {chosen % '200'}")
    fit.add_argument("--learning-rate", type=float, help=chosen % "0.001")
    fit.add_argument("--schedule", help=f"of the learning rate: {', '.join(SCHEDULES)} {chosen % 'constant'}")
    fit.add_argument("--momentum", type=float, help="of sgd, momentum, nesterov (default: 0.9)")
    fit.add_argument("--dropout", type=float, help=f"share of the hidden values set to 0 {chosen % '0'}")
    fit.add_argument("--quantile", type=float, help="of the loss of this name (default: 0.5)")
    fit.add_argument("--alpha", type=float, help=f"L2 penalty, as scikit-learn's {chosen % '0.0001'}")
    fit.add_argument("--epochs", type=int, help=f"at the most {chosen % '200'}")
    fit.add_argument(
        "--validation", type=float, metavar="SHARE",
        help="of the rows, set aside to watch and, with a solver named, to stop early; 0: none "
        "(default: 0; with a solver named 0.1, or 0 where a test set is there)",
    )  # fmt: skip
    fit.add_argument(
        "--no-standardize", dest="standardize", action="store_const", const=False, help="take the numbers as they are"
    )
    fit.add_argument("--dtype", choices=("float32", "float64"), help="of the networks (default: float32)")
    fit.add_argument("--seed", type=int, default=0, help="equal seeds give equal models (default: %(default)s)")
    fit.add_argument(
        "--threads", type=int, help="the result does not depend on it (default: all cores; a solver named, 1)"
    )
    fit.add_argument("--quiet", action="store_true", help="no line per epoch or network")
    _engine(fit)
    fit.set_defaults(command=_fit)

    predict = commands.add_parser("predict", help="answer for new rows or images, as CSV")
    predict.add_argument("model", type=Path)
    predict.add_argument("data", type=Path, help="CSV table with the columns learned from, or images")
    predict.add_argument("--out", type=Path, help="CSV file (default: standard output)")
    predict.set_defaults(command=_predict)

    explain = commands.add_parser("explain", help="show the derivation with the numbers of one example, each checked")
    explain.add_argument("model", type=Path, nargs="?", help="without one: the one-dimensional network of the textbook")
    explain.add_argument("data", type=Path, nargs="?")
    explain.add_argument("--row", type=int, help="which example, from 0 (default: 0)")
    explain.add_argument("--target", help="column that holds the label (default: the model's)")
    explain.add_argument("--label", help="the label, where the data hold none")
    explain.add_argument("--format", choices=("text", "latex", "json"), default="text")
    explain.set_defaults(command=_explain)
    return parser


def _engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("native", "reference"), help="default: native where it is installed")


# ---- demo --------------------------------------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> int:
    from PIL import Image

    from chainrule.demo import learn_digits

    data.check_integer("seed", options.seed, 0, 2**32 - 1)
    picture = options.out.with_suffix(".png")
    if picture == options.out:
        raise ValueError(f"--out names the model file, beside which a picture is put; {options.out} names a picture")
    _check_writable(options.out)
    _check_writable(picture)
    model, image = learn_digits(options.seed, options.engine)
    export.save(model, options.out, {"shape": list(image.shape), "target": "digit"})
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    export.replace(picture, content.getvalue())
    print(
        f"\n{options.out} holds the model, {picture} a digit. Ask it:\n    {_program()} predict {options.out} {picture}"
    )
    return 0


def _program() -> str:
    """Return how this shell calls the program: by its name where that is on the PATH, else as it was called just now."""
    called = Path(sys.argv[0])
    found = shutil.which("chainrule")
    return str(called) if called.name == "chainrule" and (not found or not called.samefile(found)) else "chainrule"


# ---- fit ---------------------------------------------------------------------------------------------------------------


def _fit(options: argparse.Namespace) -> int:
    from chainrule.estimators import Classifier, Regressor
    from chainrule.parameters import DEFAULTS

    out, settings = options.out or _free_name(options.data), _settings(options)
    _check_writable(out, options.data)
    examples = files.read(options.data, options.target, task=options.task)
    classify = _is_classification(options, examples)
    X, y = examples.stacked, np.asarray(examples.y)
    named = settings.get("solver", "auto") != "auto"
    share = options.validation if options.validation is not None else 0.1 if named and examples.test is None else 0.0
    if not 0 <= share < 1:
        raise ValueError(f"--validation must be at least 0 and below 1; got {share}")
    if share and len(X) < 20:
        print("chainrule: note: fewer than 20 rows: none are set aside for validation", file=sys.stderr)
        share = 0.0
    if named:  # as many epochs as were asked for, unless rows set aside say otherwise
        settings["tol"] = 0.0
    if named and share:
        patience = max(10, settings.get("max_iter", DEFAULTS["max_iter"]) // 10)
        settings |= {"early_stopping": True, "n_iter_no_change": patience}
    model = (Classifier if classify else Regressor)(verbose=not options.quiet, **settings)
    model.check_parameters()
    _check_alone(options)
    if "bounds" in settings:
        _check_bounds(options.bounds, settings["bounds"], examples)
    kept, aside = np.arange(len(X)), np.arange(0)
    if share:
        kept, aside = data.set_aside(len(X), share, options.seed, y if classify else None)
    what = "classification" if classify else "regression"
    each = "numbers" if X.dtype.kind in "uif" else "columns"
    print(f"{len(kept)} rows of {examples.X.shape[1]} {each}, {what} of {examples.target or 'the label'!s}"
          + (f", {len(aside)} rows set aside" if len(aside) else ""))  # fmt: skip
    started = time.perf_counter()
    validation = {"X_val": X[aside], "y_val": y[aside]} if len(aside) else {}
    model.fit(X[kept], y[kept], **validation)
    seconds = time.perf_counter() - started
    print(model.summary())
    history = model.history_
    if named and history.epochs:
        epoch = sum(history.seconds) / history.epochs
        print(f"learned in {seconds:.2f} s: {epoch:.3f} s an epoch, {len(kept) / epoch:,.0f} rows/s"
              + (f"; the best was epoch {history.best_epoch}" if len(aside) else ""))  # fmt: skip
    if examples.test is not None:
        print(f"test: {_score(model, examples.test.stacked, examples.test.y)}")
    if len(aside):
        print(f"set aside: {_score(model, X[aside], y[aside])}")
    notes = {"shape": list(examples.shape), "target": examples.target, "features": examples.features}
    export.save(model, out, notes)
    print(f"{out} holds the model. Ask it:\n    {_program()} predict {out} <new data>")
    return INTERRUPTED if history.ending == "interrupted" else 0


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of an estimator that were given."""
    given = {option: getattr(options, option) for option in PARAMETERS if getattr(options, option) is not None}
    for option, read in (("hidden", _sizes), ("bounds", _ends)):
        if option in given:
            given[option] = read(given[option])
    return {PARAMETERS[option]: value for option, value in given.items()}


def _is_classification(options: argparse.Namespace, examples: files.Examples) -> bool:
    """Whether classes are to be learned; refuse what cannot be learned at all."""
    if examples.y is None and not examples.features:
        raise data.DataError(
            f"{options.data}: holds images without labels; put them into one folder a class, or add index.csv"
        )
    if examples.y is None:
        raise data.DataError(
            f"{options.data}: name the column to learn with --target; it has {', '.join(examples.features)}"
        )
    classify = examples.y.dtype.kind != "f" and options.task != "regression"
    if not classify and examples.y.dtype.kind == "U":
        raise data.DataError(f"{options.data}: the labels are names, as {examples.y[0]!r}; regression needs numbers")
    few = np.unique(examples.y)
    if not classify and options.task == "auto" and len(few) <= 10 < len(examples.y) and (few == np.rint(few)).all():
        print(
            f"chainrule: note: {examples.target} holds {len(few)} whole numbers and is learned as a quantity; "
            f"if they name classes, add --task classification",
            file=sys.stderr,
        )
    if classify and len(few) < 2:
        raise data.DataError(
            f"{options.data}: all {len(examples.y)} labels are {examples.y.tolist()[0]!r}; "
            f"at least two classes are needed to learn"
        )
    if classify and options.bounds is not None:
        raise ValueError(f"--bounds is of a regression; {examples.target or 'the label'} holds classes: leave it out")
    return classify


def _check_alone(options: argparse.Namespace) -> None:
    """Refuse an option that says nothing to the solver, or the loss: it would not be honoured."""
    solver = options.solver or "auto"
    for option, solvers in ALONE.items():
        if getattr(options, option) is not None and solver not in solvers:
            flag = FLAGS[PARAMETERS[option]]
            raise ValueError(f"{flag} goes with --solver {' or '.join(solvers)}; got {solver}: leave {flag} out")
    if options.quantile is not None and options.loss != "quantile":
        raise ValueError(
            f"--quantile goes with --loss quantile; got {options.loss or 'none'}: add it, or leave --quantile out"
        )


def _check_bounds(text: str, bounds: tuple[float | None, float | None], examples: files.Examples) -> None:
    assert examples.y is not None
    low, high = (end if end is not None else open_ for end, open_ in zip(bounds, (-np.inf, np.inf), strict=True))
    outside = np.flatnonzero((examples.y < low) | (examples.y > high))
    if len(outside) and examples.place is not None:
        row = int(outside[0])
        said, found = f"must lie within --bounds {text!r}", f"{examples.y[row]:g}"
        raise examples.place.error(row, said, found, "Correct it, or widen the bounds")


def _free_name(source: Path) -> Path:
    stem = source.resolve().stem.partition(".")[0] or "model"
    candidates = (Path(f"{stem}{suffix}.chain") for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(path for path in candidates if not path.exists())


def _check_writable(path: Path, *sources: Path) -> None:
    """Say before an hour of training, not after, that its result cannot be written, or would destroy what was read."""
    if path.is_dir():
        raise OSError(f"{path}: is a folder; --out names a file")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: is no ordinary file; choose another --out")
    for source in sources:
        if path.exists() and source.exists() and path.samefile(source):
            raise OSError(f"{path}: is what is read; choose another --out")
    if not path.absolute().parent.is_dir():
        raise OSError(f"{path}: the folder {path.absolute().parent} does not exist; make it, or choose another --out")
    if not os.access(path.absolute().parent, os.W_OK):
        raise OSError(f"{path}: the folder {path.absolute().parent} cannot be written to; choose another --out")


def _sizes(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*\d+(\s*[,-]\s*\d+)*\s*", text, re.ASCII):
        raise ValueError(f"--hidden must be whole numbers, as 30 or 64,32; got {text!r}")
    return tuple(int(part) for part in re.split("[,-]", text))


def _ends(text: str) -> tuple[float | None, float | None]:
    low, comma, high = (part.strip() for part in text.partition(","))
    given = [float(end) if is_number(end) else np.nan for end in (low, high) if end]
    if not comma or not given or not np.isfinite(given).all() or given != sorted(set(given)):
        raise ValueError(
            f"--bounds must be LOW,HIGH, low below high, of which one may be empty, as 0,100 or 0, or ,1; got {text!r}"
        )
    return float(low) if low else None, float(high) if high else None


def _score(model: Regressor | Classifier, X: Any, y: Any) -> str:
    answers = model.predict(X)
    if hasattr(model, "classes_"):
        right = int((answers == y).sum())
        return f"{100 * right / len(y):.2f} % right ({right} of {len(y)})"
    error = float(np.sqrt(np.mean((answers - y) ** 2)))
    spread = float(np.mean((y - np.mean(y)) ** 2))
    share = f", R² {1 - error**2 / spread:.4f}" if spread else ""
    return f"root mean squared error {error:.4g}{share} on {len(y)} rows"


# ---- predict and explain -----------------------------------------------------------------------------------------------


def _read_for(
    model: Any, notes: dict[str, Any], path: Path, target: str | None = None, labels: bool = False
) -> files.Examples:
    """Read new data as the model needs them."""
    features = [str(name) for name in getattr(model, "feature_names_in_", notes.get("features") or [])]
    task = "classification" if hasattr(model, "classes_") else "regression"
    inputs = model.sizes[0] if isinstance(model, Network) else model.n_features_in_
    columns = getattr(model, "inputs_", None)
    kinds = [FINITE] * inputs if columns is None else [column.kind for column in columns.columns]
    examples = files.read(path, target, features, task, labels, kinds)
    shape = tuple(notes.get("shape") or ())
    if shape and len(shape) == 3 and examples.shape == shape[:2]:  # grey images, where it learned from colour
        coloured = np.stack([files.in_colour(image) for image in examples.X.reshape(-1, *examples.shape)])
        examples.X, examples.shape = coloured.reshape(len(coloured), -1), shape
    if shape and examples.shape and examples.shape != shape:
        raise data.DataError(
            f"{path}: images of {files.pixels(examples.shape)}; the model learned from {files.pixels(shape)}"
        )
    if examples.X.shape[1] != inputs:
        raise data.DataError(f"{path}: rows of {examples.X.shape[1]} numbers; the model learned from {inputs}")
    return examples


def _predict(options: argparse.Namespace) -> int:
    model, notes = export.read(options.model)
    if options.out:
        _check_writable(options.out, options.model, options.data)
    examples = _read_for(model, notes, options.data)
    header, columns = _answers(model, notes, examples.X)
    if examples.names:
        header, columns = ["file", *header], [examples.names, *columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    if options.out:
        export.replace(options.out, text.getvalue().encode())
    else:
        sys.stdout.write(text.getvalue())
    return 0


def _answers(model: Any, notes: dict[str, Any], X: Any) -> tuple[list[str], list[list[Any]]]:
    name = notes.get("target") or "prediction"
    if isinstance(model, Network):
        Z = model.predict(X)
        return [f"z{k}" for k in range(Z.shape[1])], [[f"{v:.7g}" for v in column] for column in Z.T]
    if hasattr(model, "classes_"):
        P = model.predict_proba(X)
        labels = [str(c) for c in model.classes_]
        answers = [labels[k] for k in P.argmax(axis=1)]
        return [name, *(f"p({c})" for c in labels)], [answers, *([f"{v:.4f}" for v in column] for column in P.T)]
    spread = model.loss_name_ == "gaussian"
    mean_and_deviation = model.predict(X, return_std=True) if spread else (model.predict(X),)
    Z = np.hstack([np.asarray(part).reshape(len(X), -1) for part in mean_and_deviation])
    names = [name] if model.outputs_ == 1 else [f"{name}{k}" for k in range(model.outputs_)]
    names += [f"std({column})" for column in names] if spread else []
    return names, [[f"{v:.7g}" for v in column] for column in Z.T]


def _explain(options: argparse.Namespace) -> int:
    if options.model is None:
        if options.row is not None or options.label is not None or options.target is not None:
            raise ValueError(
                "--row, --target and --label need a model and data: chainrule explain model.chain table.csv"
            )
        network = Network([1, 1, 1], seed=1, dtype="float64")
        network.v[:], network.u[:] = 0.1, -0.2
        explanation = chainrule.explain(network, 0.5, 0.2)
    else:
        if options.data is None:
            raise ValueError("explain needs the data beside the model: chainrule explain model.chain table.csv --row 0")
        explanation = _explain_row(options)
    if options.format == "json":
        print(explanation.json())
    else:
        print(explanation.latex() if options.format == "latex" else explanation.text())
    return 0


def _explain_row(options: argparse.Namespace) -> Any:
    model, notes = export.read(options.model)
    target = options.target or (notes.get("target") if options.label is None else None)
    examples = _read_for(model, notes, options.data, target or None, labels=options.label is None)
    row = options.row or 0
    if not 0 <= row < len(examples.X):
        raise ValueError(
            f"--row must be 0 to {len(examples.X) - 1}, as {options.data} has {len(examples.X)} rows; got {row}"
        )
    label: Any = options.label if options.label is not None else None if examples.y is None else examples.y[row]
    if label is None:
        raise ValueError(f"{options.data} holds no label for the row; give one with --label")
    if not hasattr(model, "classes_"):
        try:
            label = float(label)
        except ValueError:
            raise ValueError(f"--label must be a number, as the model answers with one; got {label!r}") from None
    else:
        classes = {str(c): c for c in model.classes_.tolist()}
        if str(label) not in classes:
            raise ValueError(f"--label must be one of the classes {', '.join(classes)}; got {str(label)!r}")
        label = classes[str(label)]
    if examples.features and not isinstance(model, Network):
        model.feature_names_in_ = np.array(examples.features, dtype=object)
    return chainrule.explain(model, examples.X[row], label)


if __name__ == "__main__":
    sys.exit(main())
