"""Goes through the blocks of a model and rounds the layers of each again, together (see ``blockwise``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autocompress.errors import ModelError
from autocompress.passes.reconstruct.blocks import Block
from autocompress.passes.reconstruct.blockwise import BlockRounding, BlockSample
from autocompress.passes.reconstruct.config import ReconstructConfig
from autocompress.passes.reconstruct.layerwise import Layer, put_in_place
from autocompress.passes.reconstruct.payload import LayerError, ReconstructPayload
from autocompress.passes.reconstruct.segments import SegmentRunner
from autocompress.passes.reconstruct.watch import Watch
from autocompress.runtimes.protocol import Array

_STAGE = "reconstruct blocks"
_MAX_SAMPLE_BYTES = 512 << 20


class BlockwiseRefinement:
    """Refines what layer-by-layer reconstruction found.

    Args:
        float_model: runs the model before quantization, from its start.
        quantized_model: runs the simulation with the weights found so far, from its start.
        config: method and its settings.
        watch: time and progress.
    """

    def __init__(
        self, float_model: SegmentRunner, quantized_model: SegmentRunner, config: ReconstructConfig, watch: Watch
    ) -> None:
        self._float = float_model
        self._quantized = quantized_model
        self._config = config
        self._watch = watch

    def run(self, blocks: Sequence[Block], layers: Sequence[Layer], payload: ReconstructPayload) -> ReconstructPayload:
        """Refines every block, or those that the time allows.

        Args:
            blocks: in graph order.
            layers: all layers of the model.
            payload: of layer-by-layer reconstruction.
        """
        uses = Counter(layer.weight_name for layer in layers)
        # A weight that stands in several places belongs to no block.
        own = {layer.unit: layer for layer in layers if uses[layer.weight_name] == 1}
        found = ReconstructPayload(dict(payload.integers), dict(payload.biases), dict(payload.errors))
        self._watch.begin(_STAGE, len(blocks), len(blocks))
        for block in blocks:
            seconds = self._watch.share(1.0)
            if seconds <= 0.0:
                break
            inside = [own[unit] for unit in block.layers if unit in own and unit in found.errors]
            try:
                error = self._refine(block, inside, found, seconds) if inside else LayerError(0.0, 0.0)
            except ModelError as problem:
                self._watch.notice(f"The block before {block.result!r} is rounded layer by layer: {problem}")
                error = LayerError(0.0, 0.0)
            self._watch.layer_done(block.result, error, 1.0)
        return found

    def _refine(self, block: Block, layers: Sequence[Layer], found: ReconstructPayload, seconds: float) -> LayerError:
        result = self._quantized.result(block.result)
        piece = self._quantized.cut(block.source, block.result)
        biases = {layer.unit: found.biases[layer.unit] for layer in layers if layer.simulated.bias is not None}
        rounding = BlockRounding(piece, result, layers, found.integers, biases, self._config)
        samples = self._samples(block)
        before = rounding.start_error(samples)
        rounding.learn(samples, before, seconds)
        after = rounding.error(samples)
        if not after < before:
            return LayerError(before, before)
        found.integers.update(rounding.integers())
        found.biases.update(rounding.biases())
        for layer in layers:
            put_in_place(self._quantized, layer, found)
        return LayerError(before, after)

    def _samples(self, block: Block) -> list[BlockSample]:
        """Batches of the block's inputs and targets, as many as fit into memory."""
        inputs = self._kept(self._quantized, block.source, self._quantized.live_behind(block.source))
        clean = self._kept(self._float, block.source, [self._float.result(block.source)] if block.source else [])
        targets = self._kept(self._float, block.result, [self._float.result(block.result)])
        samples = []
        for given, known, target in zip(inputs, clean, targets, strict=False):
            raw = {self._quantized.result(block.source): value for value in known.values()} if block.source else {}
            samples.append(BlockSample(given, raw, next(iter(target.values()))))
        return samples

    def _kept(self, runner: SegmentRunner, node: str, tensors: Sequence[str]) -> list[dict[str, Array]]:
        kept: list[dict[str, Array]] = []
        kept_bytes = 0
        for values in runner.behind(node, tensors):
            kept_bytes += sum(value.nbytes for value in values.values())
            if not kept or kept_bytes <= _MAX_SAMPLE_BYTES:
                kept.append(values)
        return kept
