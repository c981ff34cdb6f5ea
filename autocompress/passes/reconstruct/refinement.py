"""Goes through the blocks of a model: the layers of each one after the other, then all of them together.

What a block's weights become changes what the next block is fed, so the next one's layers are only rounded after it
(see ``layerwise`` and ``blockwise``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from autocompress.errors import ModelError
from autocompress.passes.reconstruct.blocks import Block
from autocompress.passes.reconstruct.blockwise import BlockRounding, BlockSample
from autocompress.passes.reconstruct.config import ReconstructConfig
from autocompress.passes.reconstruct.layerwise import Layer, LayerwiseReconstruction, put_in_place
from autocompress.passes.reconstruct.payload import LayerError, ReconstructPayload
from autocompress.passes.reconstruct.segments import SegmentRunner
from autocompress.passes.reconstruct.watch import Watch
from autocompress.runtimes.protocol import Array

_STAGE = "reconstruct blocks"
_MAX_SAMPLE_BYTES = 512 << 20
_LAYERS_PART = 0.4  # of a block's time


class BlockwiseReconstruction:
    """Rounds the weights of a model block by block.

    Args:
        float_model: runs the model before quantization, from its start.
        quantized_model: runs the simulation, whose weights are replaced on the way.
        layerwise: rounds single layers, with the same two runners.
        config: method and its settings.
        watch: time and progress.
    """

    def __init__(
        self,
        float_model: SegmentRunner,
        quantized_model: SegmentRunner,
        layerwise: LayerwiseReconstruction,
        config: ReconstructConfig,
        watch: Watch,
    ) -> None:
        self._float = float_model
        self._quantized = quantized_model
        self._layerwise = layerwise
        self._config = config
        self._watch = watch

    def run(self, blocks: Sequence[Block], layers: Sequence[Layer]) -> ReconstructPayload:
        """Rounds every block, or those that the time allows; layers behind the last block are rounded one by one.

        Args:
            blocks: in graph order.
            layers: all layers of the model, in graph order.
        """
        uses = Counter(layer.weight_name for layer in layers)
        in_blocks = {unit for block in blocks for unit in block.layers}
        behind = [layer for layer in layers if layer.unit not in in_blocks]
        self._watch.begin(_STAGE, len(blocks) + len(behind), sum(layer.work for layer in layers))
        for block in blocks:
            inside = [layer for layer in layers if layer.unit in block.layers]
            work = sum(layer.work for layer in inside)
            seconds = self._watch.share(work)
            if seconds <= 0.0:
                return self._layerwise.payload
            # A weight that stands in several places belongs to no block.
            own = [layer for layer in inside if uses[layer.weight_name] == 1]
            self._watch.layer_done(block.result, self._reconstruct(block, inside, own, seconds), work)
        for layer in behind:
            seconds = self._watch.share(layer.work)
            if seconds > 0.0:
                self._watch.layer_done(layer.unit, self._layerwise.reconstruct(layer, seconds), layer.work)
        return self._layerwise.payload

    def _reconstruct(self, block: Block, inside: list[Layer], own: list[Layer], seconds: float) -> LayerError:
        started = time.monotonic()
        work = sum(layer.work for layer in inside)
        self._pass_to(block.source)
        marks = [(runner, runner.mark()) for runner in (self._float, self._quantized)]
        for layer in inside:
            error = self._layerwise.reconstruct(layer, _LAYERS_PART * seconds * layer.work / work)
        for runner, mark in marks:
            runner.return_to(mark)
        if len(own) < 2:  # one layer alone has been rounded for its own output
            return error
        try:
            return self._refined(block, own, seconds - (time.monotonic() - started))
        except ModelError as problem:
            self._watch.notice(f"The block before {block.result!r} is rounded layer by layer: {problem}")
            return error

    def _refined(self, block: Block, layers: list[Layer], seconds: float) -> LayerError:
        result = self._quantized.result(block.result)
        found = self._layerwise.payload
        biases = {layer.unit: found.biases[layer.unit] for layer in layers if layer.simulated.bias is not None}
        piece = self._quantized.cut(block.source, block.result)
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

    def _pass_to(self, node: str) -> None:
        """Brings both runners behind a node, so that what follows need not be computed from further back."""
        for runner in (self._float, self._quantized):
            for _ in runner.behind(node, []):
                pass

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
