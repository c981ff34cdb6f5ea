"""What a user would bring for each model of an evaluation set: data, calibration data, preprocessing, metric, budget.

An evaluation set is a folder of folders, each with ``model.onnx``, ``eval.npz``, ``calib.npz`` and ``meta.json`` (its
``task`` says what the arrays of ``eval.npz`` are).  It is read only; what is prepared goes to a folder of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from user_metrics import NO_BOX

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class UserInputs:
    """The files and options for one model.

    Attributes:
        name: of the model's folder.
        task: of ``meta.json``.
        model: the ONNX file, where it lies.
        data: .npz with the model's inputs, ``labels`` where there are classes, and what the metric needs.
        calibration: .npz with the model's inputs of unlabelled samples that are not in ``data``.
        preprocess: YAML with scale and bias, or None where the arrays are what the model takes.
        metric: as ``--metric`` takes it.
        max_accuracy_drop: in the metric's own unit.
        published: what ``meta.json`` holds, for the record.
    """

    name: str
    task: str
    model: Path
    data: Path
    calibration: Path
    preprocess: Path | None
    metric: str
    max_accuracy_drop: float
    published: Mapping[str, Any]


def prepare(folder: Path, work: Path, *, model: Path | None = None, n: int | None = None) -> UserInputs:
    """Writes the inputs for one model folder.

    Args:
        folder: of the evaluation set.
        work: where to write; created.
        model: ONNX file to use instead of ``folder / "model.onnx"``.
        n: the number of leading samples to use; None for all.

    Raises:
        FileNotFoundError: when the folder lacks a file.
        ValueError: when its task is unknown.
    """
    model = model or folder / "model.onnx"
    for path in (model, folder / "meta.json", folder / "eval.npz", folder / "calib.npz"):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
    meta = json.loads((folder / "meta.json").read_text())
    if meta["task"] not in _TASKS:
        raise ValueError(f"{folder}: task '{meta['task']}' is none of {', '.join(_TASKS)}")
    task = _TASKS[meta["task"]]
    work.mkdir(parents=True, exist_ok=True)
    names = [entry["name"] for entry in meta.get("inputs", [{"name": "x"}])]
    save_arrays(work / "data.npz", task.data(_load(folder / "eval.npz"), names, n))
    calibration = _load(folder / "calib.npz")
    unnamed = set(calibration) == {"x"}
    save_arrays(work / "calibration.npz", {names[0]: calibration["x"]} if unnamed else calibration)
    return UserInputs(
        name=folder.name,
        task=meta["task"],
        model=model,
        data=work / "data.npz",
        calibration=work / "calibration.npz",
        preprocess=_write_preprocess(work / "preprocess.yaml", meta.get("preprocess")),
        metric=task.metric,
        max_accuracy_drop=task.max_accuracy_drop,
        published={key: meta.get(key) for key in ("metric", "measured", "n", "macs", "params", "published")},
    )


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes an .npz file, uncompressed."""
    np.savez(path, **arrays)  # type: ignore[arg-type]


def usual_samples(folder: Path) -> int | None:
    """How many samples a user would bring to a run, where the folder holds far more; None for all of them."""
    task = json.loads((folder / "meta.json").read_text())["task"]
    return _TASKS[task].usual_samples if task in _TASKS else None


def model_names(evalset: Path, overridden: set[str]) -> list[str]:
    """Every folder whose model is there, or is given from elsewhere (``overridden``); the others are named.

    Raises:
        SystemExit: when there is none.
    """
    folders = sorted(path.parent for path in evalset.glob("*/meta.json"))
    ready = [f.name for f in folders if f.name in overridden or (f / "model.onnx").is_file()]
    for missing in sorted({f.name for f in folders} - set(ready)):
        print(f"{missing}: no model.onnx; give --model-path {missing}=FILE", file=sys.stderr)
    if not ready:
        raise SystemExit(f"{evalset} holds no folder with meta.json and model.onnx")
    return ready


def feeds(inputs: UserInputs, file: Path, input_names: list[str]) -> Arrays:
    """Arrays of ``data`` or ``calibration`` as the model takes them: uint8 images scaled, everything else as it is.

    Worked out here from ``preprocess.yaml`` without the package, since the package is what is being judged.
    """
    import yaml

    arrays = _load(file)
    ready = {name: arrays[name] for name in input_names}
    if inputs.preprocess is None:
        return ready
    content = yaml.safe_load(inputs.preprocess.read_text())
    scale, bias = (np.array(content[key], np.float32)[:, None, None] for key in ("scale", "bias"))
    return {name: array * scale + bias if array.dtype == np.uint8 else array for name, array in ready.items()}


@dataclass(frozen=True)
class _Task:
    data: Callable[[Arrays, list[str], int | None], Arrays]
    metric: str
    max_accuracy_drop: float
    usual_samples: int | None = None


def _load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _write_preprocess(path: Path, preprocess: Mapping[str, Any] | None) -> Path | None:
    if preprocess is None:
        return None
    path.write_text(f"scale: {preprocess['scale']}\nbias: {preprocess['bias']}\n")
    return path


def _classes(arrays: Arrays, names: list[str], n: int | None) -> Arrays:
    return {names[0]: arrays["x"][:n], "labels": arrays["y"][:n].astype(np.int64)}


def _noisy_images(arrays: Arrays, names: list[str], n: int | None) -> Arrays:
    """Clean images with the noise that the file's seed gives (drawn for all of them, whatever ``n`` is)."""
    clean = arrays["clean"]
    noise = np.random.default_rng(int(arrays["seed"])).standard_normal(clean.shape, dtype=np.float32)
    noisy = clean.astype(np.float32) / np.float32(255) + noise * np.float32(arrays["sigma"])
    return {names[0]: noisy[:n], "clean": clean[:n]}


def _images_with_boxes(arrays: Arrays, names: list[str], n: int | None) -> Arrays:
    """The list of true boxes (image, class, corners) turned into one padded row per image, so that arrays slice."""
    image, truth = arrays["x"][:n], arrays["gt"]
    per_image = [truth[truth[:, 0] == i, 1:] for i in range(len(image))]
    boxes = np.full((len(image), max(map(len, per_image)), 5), NO_BOX, np.float32)
    for row, mine in zip(boxes, per_image, strict=True):
        row[: len(mine)] = mine
    return {names[0]: image, "boxes": boxes}


def _sentence_pairs(arrays: Arrays, names: list[str], n: int | None) -> Arrays:
    """Each sentence a sample, both of a pair next to each other and in one group, which a split must not tear apart.

    ``n`` counts sentences.
    """
    pairs = len(arrays["y"])
    order = np.arange(2 * pairs).reshape(2, pairs).T.ravel()[:n]
    ids, mask = (arrays[key][order].astype(np.int64) for key in ("ids", "mask"))
    by_name = dict(zip(names, (ids, mask, np.zeros_like(ids)), strict=True))
    return {**by_name, "groups": order % pairs, "member": order // pairs, "score": arrays["y"][order % pairs]}


_TASKS: Mapping[str, _Task] = {
    "classification": _Task(_classes, "top1", 0.01),
    "denoise": _Task(_noisy_images, "user_metrics:psnr_db", 0.1),
    "detection": _Task(_images_with_boxes, "user_metrics:map50", 0.01),
    "sts": _Task(_sentence_pairs, "user_metrics:sentence_spearman", 0.01, usual_samples=1000),
}
