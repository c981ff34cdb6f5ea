"""The zoo: every architecture in every variant builds, runs, and is what it says."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.api.zoo_forms import zoo_quantizer
from autocompress.errors import ConfigError
from autocompress.graph.model import fingerprint
from autocompress.graph.signature import OpSignature
from autocompress.latency.families import family_of
from autocompress.latency.features import FEATURES, features_of
from autocompress.latency.zoo.catalogue import architectures, zoo_models
from autocompress.latency.zoo.variant import VARIANTS, Variant, variants_for
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from zoo_parts import ARCHITECTURES, KINDS, SMALL, executed, feeds_of

MODELS = zoo_models("onnxruntime", zoo_quantizer("onnxruntime"))
OF_RUNTIME = {"onnxruntime": MODELS, "openvino": zoo_models("openvino", zoo_quantizer("openvino"))}
# A survey must stay under an hour, at about a second for each model besides its operators.
MOST_MODELS = 520
SMALLEST_NORMAL = np.finfo(np.float32).tiny
FROM_EXPORTS = (
    "lstm_tagger", "elman", "text_recognition", "gated_restoration", "decoder_shared", "decoder_wide",
    "sentence_encoder_counted", "torch_transformer", "window_transformer_small", "generator", "subpixel",
    "style_transfer", "centers", "plain_sequences", "smooth_net", "alexnet", "signal_autoencoder",
)  # fmt: skip


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_architecture_runs_in_a_variant(name: str) -> None:
    kinds = [v for a, v in MODELS if a.name == name]
    variant = kinds[list(ARCHITECTURES).index(name) % len(kinds)]
    architecture = ARCHITECTURES[name]
    outputs = get_runtime("onnxruntime").load(architecture.build(variant)).run(architecture.feeds())
    for values in outputs.values():
        assert np.isfinite(values).all()


@pytest.mark.parametrize("rank", range(12))
def test_a_sample_runs_in_openvino(rank: int) -> None:
    pytest.importorskip("openvino")
    models = OF_RUNTIME["openvino"]
    architecture, variant = models[rank * len(models) // 12]
    outputs = get_runtime("openvino").load(architecture.build(variant)).run(architecture.feeds())
    assert all(np.isfinite(values).all() for values in outputs.values())


@pytest.mark.parametrize("variant", [v.name for v in VARIANTS])
def test_every_variant_runs(variant: str) -> None:
    for name in SMALL:
        architecture = ARCHITECTURES[name]
        session = get_runtime("onnxruntime").load(architecture.build(KINDS[variant]))
        assert session.run(feeds_of(architecture))


def test_building_is_repeatable() -> None:
    for architecture, variant in (("ds_cnn", "mixed_pruned"), ("decoder_mini", "placed_mixed")):
        built = ARCHITECTURES[architecture]
        assert built.build(KINDS[variant]) == built.build(KINDS[variant])


@pytest.mark.parametrize("name", ["conv_mixer", "decoder_mini", "plain_sequences", "diffusion", "lstm_wide"])
def test_activations_are_neither_denormal_nor_infinite(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model = onnx.load_from_string(architecture.build(KINDS["fp32"]))
    known = {o.name for o in model.graph.output}
    written = {o for node in model.graph.node for o in node.output} - known
    model.graph.output.extend(onnx.ValueInfoProto(name=o) for o in written)
    results = get_runtime("onnxruntime").load(model.SerializeToString()).run(architecture.feeds())
    for values in (v for v in results.values() if v.dtype == np.float32):
        assert np.isfinite(values).all()
        assert not ((values != 0) & (np.abs(values) < SMALLEST_NORMAL)).any()


def test_integer_variants_become_integer_kernels_and_pruned_ones_have_uneven_channels() -> None:
    for name in ("resnet_cifar", "ds_cnn"):
        types = {op.signature.op_type for op in executed(name, "int8")}
        assert "QLinearConv" in types
        assert not types & {"Conv", "FusedConv"}
    widths = {op.signature.outputs[0].shape[-1] for op in executed("resnet_cifar", "pruned_int8")}
    assert any(width % 4 for width in widths)


def test_placed_variants_are_what_a_search_builds() -> None:
    architecture, runtime = ARCHITECTURES["sentence_encoder"], get_runtime("onnxruntime")
    model = onnx.load_from_string(architecture.build(KINDS["fp32"]))
    builder = CandidateBuilder(prepare(model), "onnxruntime", fingerprint(model))
    candidate = builder.build(
        FrozenRecipe(Recipe(QuantizeConfig()), builder.fingerprint, "onnxruntime", {"quantize": any_ranges(builder)})
    )
    expected = runtime.executed_ops(candidate.SerializeToString(), architecture.feeds())
    found = Counter(op.signature.key for op in executed("sentence_encoder", "placed_int8"))
    assert found == Counter(op.signature.key for op in expected)
    types = {op.signature.op_type for op in executed("sentence_encoder", "placed_dynamic")}
    assert types & {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
    assert "QLinearMatMul" not in types


def test_a_placed_variant_needs_a_quantizer() -> None:
    (placed,) = (v for v in VARIANTS if v.name == "placed_int8")
    with pytest.raises(ConfigError, match="needs a quantizer"):
        ARCHITECTURES["ds_cnn"].build(placed)
    assert not any(v.placed for _, v in zoo_models())


def test_families_of_architectures_are_many_enough_to_hold_some_out() -> None:
    assert len({a.family for a, _ in MODELS}) >= 30


@pytest.mark.parametrize("runtime", list(OF_RUNTIME))
def test_the_zoo_is_small_enough_and_goes_breadth_first(runtime: str) -> None:
    models = OF_RUNTIME[runtime]
    assert len({(a.name, v.name) for a, v in models}) == len(models) < MOST_MODELS
    families = {a.family for a in architectures()}
    assert {a.family for a, _ in models[: len(families)]} == families
    # However early it ends, no family is more than its number of architectures ahead of another.
    seen = [a.family for a, _ in models[: 4 * len(families)]]
    assert min(Counter(seen).values()) >= 2


def test_forms_differ_by_runtime() -> None:
    forms = {runtime: {v.name: v for _, v in models} for runtime, models in OF_RUNTIME.items()}
    assert {"int8", "int8_dynamic", "placed_dynamic", "int4_64_float"} <= set(forms["onnxruntime"])
    assert not {"int8", "int8_dynamic", "placed_dynamic", "int4_64_float"} & set(forms["openvino"])
    assert forms["openvino"]["int4_64"] == replace(forms["onnxruntime"]["int4_64"], portable=True)
    assert forms["openvino"]["fp32"] == forms["onnxruntime"]["fp32"]
    assert forms["openvino"].keys() >= {"placed_int8", "placed_mixed", "placed_signed"}


@pytest.mark.parametrize("variant", [v for v in variants_for("onnxruntime") if v.block_size], ids=lambda v: v.name)
def test_4_bit_weights_are_executed_as_they_are_described(variant: Variant) -> None:
    for signature in _products_of_bits(variant):
        attributes = dict(signature.attributes)
        assert (attributes["block_size"], attributes["accuracy_level"]) == (variant.block_size, variant.accuracy_level)
        assert len(signature.inputs) == (4 if variant.zero_points else 3)


def test_the_portable_form_of_4_bit_weights_is_the_same_operator() -> None:
    portable = _products_of_bits(replace(KINDS["int4_64"], portable=True))
    assert [s.outputs for s in portable] == [s.outputs for s in _products_of_bits(KINDS["int4_64"])]
    assert {dict(s.attributes)["block_size"] for s in portable} == {64}


def _products_of_bits(variant: Variant) -> list[OpSignature]:
    architecture = ARCHITECTURES["decoder_shared"]
    ops = get_runtime("onnxruntime").executed_ops(architecture.build(variant), architecture.feeds(), standalone=False)
    assert not [op for op in ops if op.signature.op_type == "DequantizeLinear"]
    return [op.signature for op in ops if op.signature.op_type == "MatMulNBits"]


def test_4_bit_weights_are_4_bit_in_openvino() -> None:
    pytest.importorskip("openvino")
    (variant,) = (v for v in variants_for("openvino") if v.name == "int4_32")
    architecture = ARCHITECTURES["decoder_mini"]
    ops = get_runtime("openvino").executed_ops(architecture.build(variant), architecture.feeds(), standalone=False)
    assert any(t is not None and t.dtype == "int4" for op in ops for t in op.signature.inputs)


def test_operators_of_real_exports_occur() -> None:
    found = {op.signature.op_type for name in FROM_EXPORTS for op in executed(name, "fp32")}
    assert found >= {
        "LSTM", "GRU", "RNN", "ConvTranspose", "DepthToSpace", "InstanceNormalization", "LRN", "PRelu", "FastGelu",
        "SkipLayerNormalization", "SimplifiedLayerNormalization", "LayerNormalization", "Erf", "Where", "IsNaN", "And",
        "Expand", "Pad", "Split", "TopK", "GatherElements", "GatherND", "CumSum", "ArgMax", "Einsum", "ReduceMax",
        "ReduceSum", "ReduceL2", "Softplus", "Elu", "Neg", "Exp", "Reciprocal", "Sqrt", "LogSoftmax", "Gelu",
        "FusedMatMul", "Gather", "Clip", "Greater", "Equal", "Resize", "QuickGelu",
    }  # fmt: skip


def test_tokens_are_within_the_vocabulary_and_the_mask_is_given_where_there_is_one() -> None:
    feeds = ARCHITECTURES["sentence_encoder"].feeds()
    assert feeds["x"].dtype == feeds["mask"].dtype == np.int64
    assert 0 < feeds["x"].min() <= feeds["x"].max() < ARCHITECTURES["sentence_encoder"].tokens
    assert set(ARCHITECTURES["decoder_mini"].feeds()) == {"x"}


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
