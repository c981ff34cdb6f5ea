"""The three test sets as lists: which base models there are, and which forms of each are timed.

A *base* is a float model: a family as it stands, or pruned.  A *form* is what a recipe makes of a base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocompress.latency.zoo.catalogue import Architecture, architectures
from autocompress.latency.zoo.variant import Variant
from latency_models.unseen import FAMILIES

SETS = ("A", "B", "C")
_FOLDER = Path(__file__).parent

# How the bases of sets B and C are built: as described, or with channels cut unevenly.
VARIANTS: Mapping[str, Variant] = {
    "plain": Variant("plain"),
    "pruned": Variant("pruned", uneven=True, seed=31),
    "pruned_again": Variant("pruned_again", uneven=True, width=0.85, seed=32),
    "narrow": Variant("narrow", width=0.75, seed=33),
}

_QUICK_UNSEEN = ("ghostnet", "quartznet")
_QUICK_KNOWN = ("unet_small", "bert_medium")
_QUICK_COMPRESSED = ("separable",)
_OF_FAMILIES = (("fp32", "plain", "float"), ("int8", "plain", "int8"), ("mixed", "plain", "random:0.55:1"),
                ("pruned", "pruned", "float"))  # fmt: skip
_SHAPED = tuple(
    (f"{base}_{recipe}", base, recipe) for base in ("pruned", "pruned_again", "narrow") for recipe in ("float", "int8")
)
_STRUCTURED = ("front:0.25", "front:0.5", "front:0.75", "back:0.25", "back:0.5", "back:0.75", "inner", "weighted",
               "alternate")  # fmt: skip
_RANDOM = ("random:0.2:1", "random:0.4:2", "random:0.6:3", "random:0.7:4", "random:0.8:5", "random:0.9:6")
_DYNAMIC = ("dynamic", "dynamic_front:0.5", "dynamic_mixed:0.5:7")
_SIGNED = ("int8_signed",)


@dataclass(frozen=True)
class Form:
    """One model of the test set, before it is built.

    Attributes:
        set: "A", "B" or "C".
        model: the architecture, or the name of a real model.
        family: of the architecture; the model's own name in sets A and C.
        name: of the form, unique within the model ("fp32", "mixed", ...).
        base: which float model it is made from ("plain", "pruned", ...).
        recipe: what is done to it (see ``recipes.py``).
    """

    set: str
    model: str
    family: str
    name: str
    base: str
    recipe: str

    @property
    def key(self) -> str:
        """Identity within the benchmark, such as "B/vgg13_narrow/int8"."""
        return f"{self.set}/{self.model}/{self.name}"

    @property
    def base_key(self) -> str:
        """Identity of the float model it is made from."""
        return f"{self.set}/{self.model}/{self.base}"


def wanted_forms(
    sets: Sequence[str], *, quick: bool, real_models: Sequence[str] = (), only: Sequence[str] = ()
) -> list[Form]:
    """Everything that is to be timed.

    Args:
        sets: which of "A", "B", "C".
        quick: only a few small models of each set.
        real_models: names of models from a folder; they join set C, without pruned forms.
        only: names of the models to keep; all when empty.
    """
    rows: list[tuple[str, str, str, Sequence[tuple[str, str, str]]]] = []
    if "A" in sets:
        rows += [("A", name, name, _OF_FAMILIES) for name in (_QUICK_UNSEEN if quick and not only else FAMILIES)]
    if "B" in sets:
        known = described("known.yaml")
        rows += [
            ("B", name, known[name].family, _OF_FAMILIES) for name in (_QUICK_KNOWN if quick and not only else known)
        ]
    if "C" in sets:
        bases = described("compressed.yaml")
        chosen = _QUICK_COMPRESSED if quick and not only else tuple(bases)
        rows += [("C", name, name, _candidates(quick, dynamic=bases[name].is_sequence)) for name in chosen]
        unpruned = [row for row in _candidates(quick, dynamic=True) if row[1] == "plain"]
        rows += [("C", name, name, unpruned) for name in real_models]
    return [
        Form(of, model, family, *row) for of, model, family, group in rows if not only or model in only for row in group
    ]


def described(name: str) -> dict[str, Architecture]:
    """Architectures of one of the YAML files beside this module, by name."""
    return {architecture.name: architecture for architecture in architectures(_FOLDER / name)}


def base_architecture(form: Form) -> Architecture:
    """What the base of a form of set B or C is described by."""
    return described("known.yaml" if form.set == "B" else "compressed.yaml")[form.model]


def _candidates(quick: bool, *, dynamic: bool) -> list[tuple[str, str, str]]:
    """Name, base and recipe of the candidates of one model: 24 without and 27 with dynamic forms; half when quick."""
    recipes = ["float", "int8", *_SIGNED, *(_DYNAMIC if dynamic else ()), *_STRUCTURED, *_RANDOM]
    rows = [*((recipe.replace(":", "_"), "plain", recipe) for recipe in recipes), *_SHAPED]
    return [*rows[:2], *rows[2::2]] if quick else rows
