"""Every row of the comparison.  A method is added by one entry here."""

from __future__ import annotations

from ptq_methods.case import Method
from ptq_methods.ours import FixedRecipe
from ptq_methods.peer_tools import Peer
from ptq_methods.search_run import build_by_search

OURS, ORT, NNCF, AIMET = "ours", "onnxruntime", "nncf", "aimet"
_PLAIN = {"bias_correction": False}
_MSE = {"activation_range": "mse", "weight_range": "mse"}
_PERCENTILE = {"activation_range": "percentile"}
# What ONNX Runtime's own percentile calibration takes.
_PERCENTILE_OF_ORT = {**_PERCENTILE, "activation_percentile": 99.999}
_FLOAT_PRODUCTS = {"product_results": "float", "scope": "weighted"}
# What normalizes behind the residual sum leaves no operator before to divide; see docs/algorithms.md.
_SMOOTH = {"kind": "smooth", "where": ["norm", "layer", "insert"]}
_SENTENCES = ("sts",)

METHODS: tuple[Method, ...] = (
    Method(OURS, "min-max", FixedRecipe(quantize=_PLAIN).build),
    Method(OURS, "percentile", FixedRecipe(quantize={**_PLAIN, **_PERCENTILE}).build),
    Method(OURS, "percentile 99.999", FixedRecipe(quantize={**_PLAIN, **_PERCENTILE_OF_ORT}).build),
    Method(OURS, "mse", FixedRecipe(quantize={**_PLAIN, **_MSE}).build),
    Method(OURS, "min-max + bias corr.", FixedRecipe(quantize={}).build),
    Method(OURS, "mse + bias corr.", FixedRecipe(quantize=_MSE).build),
    Method(OURS, "moving average + bias corr.", FixedRecipe(quantize={"activation_range": "moving_average"}).build),
    Method(OURS, "equalization + mse + bias corr.", FixedRecipe(equalize={"kind": "cross_layer"}, quantize=_MSE).build),
    Method(OURS, "AdaRound + mse", FixedRecipe(quantize=_MSE, reconstruct={"method": "adaround"}).build),
    Method(OURS, "float ends + mse + bias corr.", FixedRecipe(quantize={**_MSE, "float_ends": "both"}).build),
    Method(OURS, "int4 weights", FixedRecipe(quantize={**_MSE, "weight_dtype": "int4"}).build),
    Method(
        OURS,
        "int4 weights + AdaRound",
        FixedRecipe(quantize={**_MSE, "weight_dtype": "int4"}, reconstruct={"method": "adaround"}).build,
    ),
    Method(OURS, "float products + min-max", FixedRecipe(quantize=_FLOAT_PRODUCTS).build, _SENTENCES),
    Method(OURS, "float products + mse", FixedRecipe(quantize={**_FLOAT_PRODUCTS, **_MSE}).build, _SENTENCES),
    Method(
        OURS,
        "SmoothQuant + float products + min-max",
        FixedRecipe(equalize=_SMOOTH, quantize=_FLOAT_PRODUCTS).build,
        _SENTENCES,
    ),
    Method(OURS, "dynamic", FixedRecipe(quantize={"precision": "int8_dynamic"}).build, _SENTENCES),
    Method(OURS, "int4 weight-only", FixedRecipe(quantize={"precision": "int4_weight_only"}).build, _SENTENCES),
    Method(OURS, "search (autocompress run)", build_by_search),
    Method(ORT, "min-max", Peer("onnxruntime_static.py", "minmax", own_python=True).build),
    Method(ORT, "percentile", Peer("onnxruntime_static.py", "percentile", own_python=True).build),
    Method(ORT, "entropy", Peer("onnxruntime_static.py", "entropy", own_python=True).build),
    Method(ORT, "dynamic", Peer("onnxruntime_static.py", "dynamic", own_python=True).build, _SENTENCES),
    Method(NNCF, "fast bias correction", Peer("nncf_ptq.py", "fast").build),
    Method(AIMET, "plain", Peer("aimet_ptq.py", "plain").build),
    Method(AIMET, "equalization", Peer("aimet_ptq.py", "equalization").build),
    Method(AIMET, "AdaRound", Peer("aimet_ptq.py", "adaround").build),
)

TOOLS = tuple(dict.fromkeys(method.tool for method in METHODS))
