"""Builds the models of the test set, each once: what is in the work folder already is used as it is.

    bases/<set>/<model>-<base>-<digest>.onnx                float models
    forms/<runtime>/<set>/<model>/<form>-<digest>.onnx      what recipes make of them, by the rules of one runtime

The digests cover everything that decides the file's content, so that a change of the code builds it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from autocompress.api.feeds import bound_model
from autocompress.graph.model import fingerprint, load_model, save_model
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.runtimes import get_runtime
from latency_models.catalogue import VARIANTS, Form, base_architecture
from latency_models.digests import benchmark_sources, digest, file_sha256, package_sources
from latency_models.recipes import candidate
from latency_models.unseen import export_family

Shapes = Mapping[str, tuple[int, ...]]


class Workshop:
    """Makes model files.

    Args:
        folder: the work folder.
        real_models: name -> ONNX file, of models that were given.
        shapes: sizes of dynamic inputs of models that were given.
    """

    def __init__(self, folder: Path, real_models: Mapping[str, Path], shapes: Shapes) -> None:
        self._folder = folder
        self._real_models = real_models
        self._shapes = shapes
        self._builders: dict[tuple[Path, str], CandidateBuilder] = {}  # the last one only: forms come base by base

    def base(self, form: Form) -> Path:
        """The float model that a form is made from.

        Raises:
            AutocompressError: when it cannot be built.
        """
        path = self._folder / "bases" / form.set / f"{form.model}-{form.base}-{self._base_digest(form)}.onnx"
        if not path.exists():
            _save_alone(self._build_base(form), path, f"{form.model}-{form.base}-*.onnx")
        return path

    def form(self, form: Form, runtime: str) -> Path:
        """The file of a form for one runtime; a float form is its base.

        Raises:
            AutocompressError: when it cannot be built.
        """
        base = self.base(form)
        if form.recipe == "float":
            return base
        made_by = package_sources("passes", "recipe", "graph", "search/regions.py")
        parts = (base.stem, form.recipe, _rules_text(runtime), benchmark_sources("recipes.py"), made_by)
        name = f"{form.name}-{digest(*parts)}.onnx"
        path = self._folder / "forms" / runtime / form.set / form.model / name
        if not path.exists():
            _save_alone(candidate(self._builder(base, runtime), form.recipe), path, f"{form.name}-*.onnx")
        return path

    def _build_base(self, form: Form) -> onnx.ModelProto:
        if form.model in self._real_models:
            return bound_model(load_model(self._real_models[form.model]), self._shapes, 1)
        if form.set == "A":
            return export_family(form.model, pruned=form.base == "pruned")
        return onnx.ModelProto.FromString(base_architecture(form).build(VARIANTS[form.base]))

    def _base_digest(self, form: Form) -> str:
        if form.model in self._real_models:
            return digest(file_sha256(self._real_models[form.model]), repr(sorted(self._shapes.items())))
        if form.set == "A":
            return benchmark_sources("unseen.py", "configured.py", "convolutional.py", "mixing.py")
        return digest(repr(base_architecture(form)), repr(VARIANTS[form.base]), package_sources("latency/zoo"))

    def _builder(self, base: Path, runtime: str) -> CandidateBuilder:
        if (base, runtime) not in self._builders:
            model = load_model(base)
            self._builders = {(base, runtime): CandidateBuilder(prepare(model), runtime, fingerprint(model))}
        return self._builders[base, runtime]


def _rules_text(runtime: str) -> str:
    rules = vars(get_runtime(runtime).quantization)
    return repr({name: sorted(value) if isinstance(value, frozenset) else value for name, value in rules.items()})


def _save_alone(model: onnx.ModelProto, path: Path, older: str) -> None:
    """Saves a model and removes those that it takes the place of."""
    save_model(model, path)
    for other in path.parent.glob(older):
        if other != path:
            other.unlink()
