"""The zoo: every architecture in every variant builds, runs, and is what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import ConfigError
from autocompress.latency.families import family_of
from autocompress.latency.features import FEATURES, features_of
from autocompress.latency.zoo.catalogue import VARIANTS, architectures, zoo_models
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from zoo_parts import ARCHITECTURES, KINDS, SMALL, executed, feeds_of


@pytest.mark.parametrize("name", [a.name for a in architectures()])
def test_every_architecture_runs_in_a_variant(name: str) -> None:
    architecture = ARCHITECTURES[name]
    position = list(ARCHITECTURES).index(name)
    variant = VARIANTS[position % len(VARIANTS)]
    outputs = get_runtime("onnxruntime").load(architecture.build(variant)).run(feeds_of(architecture))
    for values in outputs.values():
        assert np.isfinite(values).all()


@pytest.mark.parametrize("variant", [v.name for v in VARIANTS])
def test_every_variant_runs(variant: str) -> None:
    for name in SMALL:
        architecture = ARCHITECTURES[name]
        session = get_runtime("onnxruntime").load(architecture.build(KINDS[variant]))
        assert session.run(feeds_of(architecture))


def test_building_is_repeatable() -> None:
    architecture = ARCHITECTURES["ds_cnn"]
    assert architecture.build(KINDS["mixed_pruned"]) == architecture.build(KINDS["mixed_pruned"])


def test_integer_variants_become_integer_kernels_and_pruned_ones_have_uneven_channels() -> None:
    for name in ("resnet_cifar", "ds_cnn"):
        types = {op.signature.op_type for op in executed(name, "int8")}
        assert "QLinearConv" in types
        assert not types & {"Conv", "FusedConv"}
    widths = {op.signature.outputs[0].shape[-1] for op in executed("resnet_cifar", "pruned_int8")}
    assert any(width % 4 for width in widths)


def test_families_of_architectures_are_many_enough_to_hold_some_out() -> None:
    assert len({a.family for a, _ in zoo_models()}) >= 8


def test_features_are_finite_and_tell_different_operators_apart() -> None:
    ops = [op for name in SMALL for variant in ("fp32", "int8") for op in executed(name, variant)]
    distinct = {op.signature.key: op.signature for op in ops}
    rows = features_of(distinct.values())
    assert rows.shape == (len(distinct), len(FEATURES))
    assert np.isfinite(rows).all()
    assert len(np.unique(rows, axis=0)) >= 0.9 * len(distinct)
    assert {family_of(s) for s in distinct.values()} >= {
        "conv_dense_float", "conv_dense_int8", "conv_depthwise_int8", "conv_pointwise_float", "matmul_int8",
        "conversion", "layout", "pooling", "recurrent", "view",
    }  # fmt: skip


def test_no_features_for_no_operators() -> None:
    assert features_of([]).shape == (0, len(FEATURES))


def test_a_malformed_catalogue_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("net: {family: f, input: [1, 8], blocks: [{nonsense: 3}]}")
    (architecture,) = architectures(path)
    with pytest.raises(ConfigError, match="names none of"):
        architecture.build(KINDS["fp32"])
    path.write_text("net: {input: [1]}")
    with pytest.raises(ConfigError, match="cannot read the architectures"):
        architectures(path)
