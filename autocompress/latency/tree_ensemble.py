"""Writes a fitted forest as ONNX, one output per tree, so that the spread over trees is served too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

_OPSETS = (("", 20), ("ai.onnx.ml", 5))
_IR_VERSION = 9
_SUM, _NO_TRANSFORM, _BRANCH_LEQ = 1, 0, 0
Integers = npt.NDArray[np.int64]


def forest_to_onnx(forest: Any, features: int) -> bytes:
    """A TreeEnsemble with input "features" of shape (n, features) and output "trees" of shape (n, trees).

    Args:
        forest: a fitted forest regressor of scikit-learn with one target.
        features: number of feature columns.
    """
    branches, leaves, roots = _Branches(), _Leaves(), []
    for number, estimator in enumerate(forest.estimators_):
        roots.append(_add_tree(estimator.tree_, number, branches, leaves))
    node = helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["trees"],
        domain="ai.onnx.ml",
        n_targets=len(roots),
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        tree_roots=roots,
        nodes_featureids=branches.features,
        nodes_splits=numpy_helper.from_array(np.asarray(branches.thresholds, np.float32), "splits"),
        nodes_modes=numpy_helper.from_array(np.full(len(branches.features), _BRANCH_LEQ, np.uint8), "modes"),
        nodes_truenodeids=branches.left,
        nodes_falsenodeids=branches.right,
        nodes_trueleafs=branches.left_is_leaf,
        nodes_falseleafs=branches.right_is_leaf,
        leaf_targetids=leaves.trees,
        leaf_weights=numpy_helper.from_array(np.asarray(leaves.values, np.float32), "weights"),
    )
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("trees", TensorProto.FLOAT, ["n", len(roots)])],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString())


class _Branches:
    """Branching nodes of all trees, as the operator's parallel arrays; children are positions here or among leaves."""

    def __init__(self) -> None:
        self.features: list[int] = []
        self.thresholds: list[float] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.left_is_leaf: list[int] = []
        self.right_is_leaf: list[int] = []


class _Leaves:
    """Leaves of all trees."""

    def __init__(self) -> None:
        self.trees: list[int] = []
        self.values: list[float] = []


def _add_tree(tree: Any, number: int, branches: _Branches, leaves: _Leaves) -> int:
    """Appends one tree and returns the position of its root."""
    is_leaf = tree.children_left == -1
    # A position is counted among the branches or among the leaves, whichever the node is.
    position = np.where(
        is_leaf, np.cumsum(is_leaf) - 1 + len(leaves.trees), np.cumsum(~is_leaf) - 1 + len(branches.left)
    )
    leaves.trees += [number] * int(is_leaf.sum())
    leaves.values += tree.value[is_leaf, 0, 0].tolist()
    root = len(branches.left)
    inner = np.flatnonzero(~is_leaf)
    if len(inner) == 0:  # a tree of one leaf still needs a branch for its root
        _add_branches(branches, [0], [0.0], position[:1], position[:1], [1], [1])
        return root
    left, right = tree.children_left[inner], tree.children_right[inner]
    _add_branches(
        branches,
        tree.feature[inner].tolist(),
        _rounded_down(tree.threshold[inner]).tolist(),
        position[left],
        position[right],
        is_leaf[left].astype(int).tolist(),
        is_leaf[right].astype(int).tolist(),
    )
    return root


def _add_branches(
    branches: _Branches,
    features: list[int],
    thresholds: list[float],
    left: Integers,
    right: Integers,
    left_is_leaf: list[int],
    right_is_leaf: list[int],
) -> None:
    branches.features += features
    branches.thresholds += thresholds
    branches.left += left.tolist()
    branches.right += right.tolist()
    branches.left_is_leaf += left_is_leaf
    branches.right_is_leaf += right_is_leaf


def _rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 not above each threshold: then x <= t means the same for every float32 x."""
    single = thresholds.astype(np.float32)
    return np.where(single > thresholds, np.nextafter(single, np.float32(-np.inf)), single)
