"""A model taken away and brought back: safetensors with JSON metadata. Loading one runs no code.

The tensors are the layers' weights (out, in) and biases, and the scales of inputs and targets; everything else is in the
metadata under "chainrule", as JSON: docs/design.md lists its fields.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from chainrule.data import DataError
from chainrule.images import Augmentation
from chainrule.network import Network

if TYPE_CHECKING:
    from chainrule.estimators import Classifier, Regressor

    Model: TypeAlias = Network | Regressor | Classifier

FORMAT = 3
OF_THE_RUN = ("n_threads", "verbose", "engine")  # parameters that do not change what was learned: not saved
SAYING_NONE = ("augment", "target_transform")  # whose None is not their default
KINDS = ("Network", "Regressor", "Classifier")


def save(model: Model, path: str | os.PathLike[str], notes: dict[str, Any] | None = None) -> None:
    """Write a model to a file, replacing one that is there only when the new one is complete.

    Parameters
    ----------
    model : Network, Regressor or Classifier
        The last two fitted.
    path : path
        By custom it ends in .chain.
    notes : dict, optional
        Anything JSON holds, kept with the model: names of columns, the shape of images.

    Raises
    ------
    OSError
        When the file cannot be written; an old one is then as it was.
    """
    from safetensors.numpy import save as to_bytes

    kind = next((name for name in KINDS if name in {c.__name__ for c in type(model).__mro__}), None)
    if kind is None:
        raise TypeError(f"model must be a Network, Regressor or Classifier; got {type(model).__name__}")
    if not isinstance(model, Network) and not hasattr(model, "network_"):
        raise ValueError(f"this {kind} has learned nothing yet: call fit before save")
    networks: list[Network] = [model] if isinstance(model, Network) else [m.network for m in model.ensemble_.members]
    if not all(np.isfinite(network.parameters).all() for network in networks):
        raise ValueError(
            f"this {kind} holds parameters that are not finite numbers; a model file would not be read again"
        )
    tensors: dict[str, npt.NDArray[Any]] = {}
    for i, network in enumerate(networks):
        for k, layer in enumerate(network.layers):
            tensors[f"networks.{i}.layers.{k}.weights"] = np.ascontiguousarray(layer.weights)
            tensors[f"networks.{i}.layers.{k}.bias"] = np.ascontiguousarray(layer.bias)
    meta: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "networks": [
            {
                "sizes": list(network.sizes),
                "activations": list(network.activations),
                "dtype": network.dtype.name,
                "seed": network.seed,
            }
            for network in networks
        ],
        "notes": notes or {},
    }
    if not isinstance(model, Network):
        scale = getattr(model, "target_scale_", None)
        if scale is not None:
            tensors["target.mean"], tensors["target.deviation"] = (
                np.atleast_1d(scale.mean),
                np.atleast_1d(scale.deviation),
            )
        meta["estimator"] = _describe(model)
    replace(Path(path), to_bytes(tensors, {"chainrule": json.dumps(meta, ensure_ascii=False, allow_nan=False)}))


def _describe(model: Regressor | Classifier) -> dict[str, Any]:
    """Return what of an estimator is neither tensor nor network, as JSON values."""
    parameters = {k: _plain(v) for k, v in model.get_params(deep=False).items()}
    parameters["monotonic_cst"] = model.stated_signs()
    described: dict[str, Any] = {
        "parameters": {
            k: v for k, v in parameters.items() if (v is not None or k in SAYING_NONE) and k not in OF_THE_RUN
        },
        "loss": model.loss_name_,
        **model.rows_.to_json(),
        "bends": None if model.bends_ is None else model.bends_.to_json(),
        "pool": dataclasses.asdict(model.ensemble_.pool),
        "members": [
            {"form": dataclasses.asdict(member.form), "share": member.share} for member in model.ensemble_.members
        ],
        "choice": getattr(model, "choice_", None),
        "seconds": getattr(model, "seconds_", 0.0),
        "hurried": getattr(model, "hurried_", False),
        "together": getattr(model, "together_", None),
        "features": [str(name) for name in getattr(model, "feature_names_in_", [])],
        "history": {
            "loss": [float(e) for e in model.history_.loss],
            "validation": [float(e) for e in model.history_.validation],
            "rate": [float(e) for e in model.history_.rate],
            "ending": model.history_.ending,
            "best_epoch": model.history_.best_epoch,
            "hash": model.history_.hash,
        },
    }
    if hasattr(model, "classes_"):
        described["classes"] = model.classes_.tolist()
        described["class_dtype"] = model.classes_.dtype.str if model.classes_.dtype.kind != "O" else "O"
        described["multilabel"] = bool(model.multilabel_)
    else:
        described["single_output"] = bool(model.single_output_)
    return described


def _plain(value: Any) -> Any:
    """Return a parameter as JSON can hold it; None for what it cannot, such as a RandomState."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Augmentation):
        return {k: _plain(v) for k, v in dataclasses.asdict(value).items()}
    return value if isinstance(value, str | int | float | bool) else None


def replace(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, then rename: a reader sees the old file or the whole new one."""
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: is {'a folder' if path.is_dir() else 'no ordinary file'}; name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; make it first")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `save` wrote. Nothing in the file is run.

    Parameters
    ----------
    path : path

    Returns
    -------
    model : Network, Regressor or Classifier
        As it was saved; it predicts the same bits, and can be trained on.

    Raises
    ------
    DataError
        When the file is missing, cut, damaged, forged, or another program's.
    """
    return read(path)[0]


def read(path: str | os.PathLike[str]) -> tuple[Model, dict[str, Any]]:
    """Return the model and the notes that were saved with it."""
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: there is no such model file")
    try:
        with safe_open(file, framework="numpy") as opened:
            meta_text = (opened.metadata() or {}).get("chainrule")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise DataError(f"{file}: is not a whole model file ({error}); it may be cut, or another program's") from None
    if meta_text is None:
        raise DataError(f"{file}: is a safetensors file, but not one of chainrule: its metadata lack 'chainrule'")
    try:
        meta = json.loads(meta_text)
        if meta["format"] != FORMAT:
            raise DataError(f"{file}: has format {meta['format']!r}; this version of chainrule reads format {FORMAT}")
        return _restore(meta, tensors), dict(meta["notes"])
    except DataError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(
            f"{file}: its description and its numbers do not fit ({error!r}); it may be forged or damaged"
        ) from None


def _restore(meta: dict[str, Any], tensors: dict[str, npt.NDArray[Any]]) -> Model:
    if meta["kind"] not in KINDS:
        raise ValueError(f"kind {meta['kind']!r}")
    networks = [_restore_network(described, tensors, i) for i, described in enumerate(meta["networks"])]
    if meta["kind"] == "Network":
        _nothing_left(tensors)
        (network,) = networks
        return network
    return _restore_estimator(meta, tensors, networks)


def _restore_network(described: dict[str, Any], tensors: dict[str, npt.NDArray[Any]], number: int) -> Network:
    sizes, activations = described["sizes"], described["activations"]
    expected = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
    held = sum(tensor.size for name, tensor in tensors.items() if name.startswith(f"networks.{number}."))
    if expected != held:  # before memory is taken for what a forged header claims
        raise ValueError(f"sizes {sizes} want {expected} parameters; the file holds {held}")
    network = Network(sizes, activations[:-1], activations[-1], seed=described["seed"], dtype=described["dtype"])
    for k, layer in enumerate(network.layers):
        start = f"networks.{number}.layers.{k}"
        for view, name in ((layer.weights, f"{start}.weights"), (layer.bias, f"{start}.bias")):
            tensor = tensors.pop(name)
            if tensor.shape != view.shape or tensor.dtype != view.dtype or not np.isfinite(tensor).all():
                raise ValueError(f"{name} is not {view.shape} finite {view.dtype}")
            view[:] = tensor
    return network


def _tuples(described: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}


def _nothing_left(tensors: dict[str, npt.NDArray[Any]]) -> None:
    if tensors:
        raise ValueError(f"unknown tensor {min(tensors)!r}")


def _restore_estimator(
    meta: dict[str, Any], tensors: dict[str, npt.NDArray[Any]], networks: list[Network]
) -> Regressor | Classifier:
    from chainrule.data import Scale
    from chainrule.ensemble import Ensemble, Member, Pool
    from chainrule.estimators import Classifier, Regressor
    from chainrule.functions import LOSSES, check_loss
    from chainrule.inputs import Form
    from chainrule.rows import Rows
    from chainrule.targets import Bends
    from chainrule.training import History

    network = networks[0]
    described = meta["estimator"]
    known = Regressor if meta["kind"] == "Regressor" else Classifier
    parameters = _tuples(described["parameters"])
    if isinstance(parameters.get("augment"), dict):
        parameters["augment"] = Augmentation(**_tuples(parameters["augment"]))
    model: Regressor | Classifier = known(**parameters)
    model.check_parameters()

    def scale(name: str, size: int) -> Scale | None:
        if f"{name}.mean" not in tensors:
            return None
        mean, deviation = tensors.pop(f"{name}.mean"), tensors.pop(f"{name}.deviation")
        for values in (mean, deviation):
            if values.shape != (size,) or values.dtype != np.float64 or not np.isfinite(values).all():
                raise ValueError(f"the scale of the {name} is not ({size},) finite float64")
        if (deviation == 0).any():
            raise ValueError(f"the scale of the {name} holds a deviation of 0")
        return Scale(mean, deviation)

    model.network_ = network
    model.rows_ = Rows.from_json(described)
    members = [
        Member(held, Form.from_json(m["form"]), float(m["share"]))
        for held, m in zip(networks, described["members"], strict=True)
    ]
    model.bends_ = None if described["bends"] is None else Bends.from_json(described["bends"])
    output, *numbers = (described["pool"][name] for name in ("output", "temperature", "doubt"))
    pool = Pool(str(output), *map(float, numbers))
    if pool.output not in ("", network.activations[-1]) or not (0 < pool.temperature < np.inf and 0 <= pool.doubt < 1):
        raise ValueError(
            f"answers of {pool.output!r} at a temperature of {pool.temperature}, with a doubt of {pool.doubt}"
        )
    model.ensemble_ = Ensemble(model.inputs_, members, model.bends_, pool)
    model.n_features_in_ = network.sizes[0] if model.inputs_ is None else len(model.inputs_.columns)
    for member in members:
        if not 0 < member.share <= 1:
            raise ValueError(f"a network with a share of {member.share}")
        if model.inputs_ is not None and max(member.form.columns, default=0) >= len(model.inputs_.used):
            raise ValueError(f"a network of columns {member.form.columns} of {len(model.inputs_.used)}")
        width = model.n_features_in_ if model.inputs_ is None else model.inputs_.width(member.form)
        if member.network.sizes[0] != width or member.network.sizes[-1] != network.sizes[-1]:
            raise ValueError(f"a network of sizes {member.network.sizes} for {width} inputs")
    if described["choice"] is not None:
        model.choice_, model.seconds_ = list(described["choice"]), float(described["seconds"])
        model.hurried_ = bool(described.get("hurried", False))
        model.together_ = float(described.get("together") or np.nan)
    model.loss_name_ = check_loss(described["loss"], network.activations[-1], network.sizes[-1])
    model.out_activation_ = network.activations[-1]
    past = described["history"]
    loss, seen, rate = ([float(e) for e in past[name]] for name in ("loss", "validation", "rate"))
    model.history_ = History(
        loss,
        seen,
        rate,
        [0.0] * len(loss),
        str(past["ending"]),
        int(past["best_epoch"]),
        hash=str(past.get("hash", "")),
    )
    model._describe_history()
    model._seed_ = network.seed
    if described["features"]:
        if len(described["features"]) != model.n_features_in_:
            raise ValueError(f"{len(described['features'])} names for {model.n_features_in_} inputs")
        model.feature_names_in_ = np.array(described["features"], dtype=object)
    if isinstance(model, Classifier):
        kind = np.dtype(described["class_dtype"])
        if kind.kind not in "biufUO":
            raise ValueError(f"classes of type {kind}")
        model.classes_ = np.array(described["classes"], dtype=kind)
        model.multilabel_ = bool(described["multilabel"])
        outputs = 1 if len(model.classes_) == 2 and model.out_activation_ == "sigmoid" else len(model.classes_)
        if network.sizes[-1] != (len(model.classes_) if model.multilabel_ else outputs):
            raise ValueError(f"{len(model.classes_)} classes for {network.sizes[-1]} outputs")
    else:
        model.outputs_ = network.sizes[-1] // LOSSES[model.loss_name_].per_label
        model.target_scale_ = scale("target", model.outputs_)
        model.single_output_ = bool(described["single_output"])
    _nothing_left(tensors)
    return model
