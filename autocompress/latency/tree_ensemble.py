"""Writes a fitted random forest as ONNX, one output per tree, so that the spread over trees is served too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

_OPSETS = (("", 17), ("ai.onnx.ml", 3))
_IR_VERSION = 8


def forest_to_onnx(forest: Any, features: int) -> bytes:
    """A TreeEnsembleRegressor with input "features" of shape (n, features) and output "trees" of shape (n, trees).

    Args:
        forest: a fitted forest regressor of scikit-learn with one target.
        features: number of feature columns.
    """
    parts = [_tree_arrays(estimator.tree_, number) for number, estimator in enumerate(forest.estimators_)]

    def joined(name: str) -> list[Any]:
        return [value for part in parts for value in part[name]]

    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["trees"],
        domain="ai.onnx.ml",
        n_targets=len(parts),
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=joined("tree"),
        nodes_nodeids=joined("node"),
        nodes_featureids=joined("feature"),
        nodes_values=joined("threshold"),
        nodes_modes=joined("mode"),
        nodes_truenodeids=joined("left"),
        nodes_falsenodeids=joined("right"),
        target_treeids=joined("leaf_tree"),
        target_nodeids=joined("leaf_node"),
        target_ids=joined("leaf_tree"),
        target_weights=joined("leaf_value"),
    )
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("trees", TensorProto.FLOAT, ["n", len(parts)])],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString())


def _tree_arrays(tree: Any, number: int) -> dict[str, list[Any]]:
    count = int(tree.node_count)
    is_leaf = tree.children_left == -1
    leaves = np.flatnonzero(is_leaf)
    return {
        "tree": [number] * count,
        "node": list(range(count)),
        "feature": np.where(is_leaf, 0, tree.feature).tolist(),
        "threshold": np.where(is_leaf, 0.0, _rounded_down(tree.threshold)).tolist(),
        "mode": ["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        "left": np.where(is_leaf, 0, tree.children_left).tolist(),
        "right": np.where(is_leaf, 0, tree.children_right).tolist(),
        "leaf_tree": [number] * len(leaves),
        "leaf_node": leaves.tolist(),
        "leaf_value": tree.value[leaves, 0, 0].astype(np.float32).tolist(),
    }


def _rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 not above each threshold: then x <= t means the same for every float32 x."""
    single = thresholds.astype(np.float32)
    return np.where(single > thresholds, np.nextafter(single, np.float32(-np.inf)), single)
