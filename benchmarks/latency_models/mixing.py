"""Unseen families A, third part: networks that mix along a sequence without attention or recurrence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from latency_models.convolutional import widths


class MixerBlock(nn.Module):
    """MLP-Mixer (Tolstikhin et al., 2021): an MLP over positions, then one over channels."""

    def __init__(self, positions: int, channels: int, over_positions: int, over_channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mix = nn.Sequential(nn.Linear(positions, over_positions), nn.GELU(), nn.Linear(over_positions, positions))
        self.feed = nn.Sequential(nn.Linear(channels, over_channels), nn.GELU(), nn.Linear(over_channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (batch, positions, channels), in and out."""
        x = x + self.mix(self.first(x).transpose(1, 2)).transpose(1, 2)
        return x + self.feed(self.second(x))


class Mixer(nn.Module):
    """Patches, blocks, mean, classes."""

    def __init__(self, blocks: int, positions: int, channels: int, inner: tuple[int, int]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 16, 16)
        self.blocks = nn.Sequential(*(MixerBlock(positions, channels, *inner) for _ in range(blocks)))
        self.head = nn.Linear(channels, 500)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of an image."""
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(x.mean(1))


def mlp_mixer(pruned: bool) -> tuple[nn.Module, Tensor]:
    """An MLP-Mixer of 6 blocks at 176x176: 121 positions."""
    width = widths(pruned)
    return Mixer(6, 121, width(320), (width(192), width(1280))), torch.randn(1, 3, 176, 176)


class TimeChannel(nn.Module):
    """QuartzNet (Kriman et al., 2020): depthwise over time, pointwise over channels, repeated beside one shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int, repeat: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = inputs
        for i in range(repeat):
            layers += [nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)]
            layers += [nn.Conv1d(channels, outputs, 1, bias=False), nn.BatchNorm1d(outputs)]
            layers += [nn.ReLU()] if i < repeat - 1 else []
            channels = outputs
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (batch, channels, steps), in and out."""
        return torch.relu(self.body(x) + self.shortcut(x))


def quartznet(pruned: bool) -> tuple[nn.Module, Tensor]:
    """A QuartzNet of 4 blocks over 200 steps of 64 bands."""
    width = widths(pruned)
    channels = width(128)
    layers: list[nn.Module] = [nn.Conv1d(64, channels, 33, 2, 16, bias=False), nn.BatchNorm1d(channels), nn.ReLU()]
    for outputs, kernel in ((128, 33), (160, 39), (256, 51), (256, 63)):
        layers.append(TimeChannel(channels, width(outputs), kernel, 3))
        channels = width(outputs)
    return nn.Sequential(*layers, nn.Conv1d(channels, 30, 1)), torch.randn(1, 64, 200)


MIXING: Mapping[str, Callable[[bool], tuple[Any, Any]]] = {
    "mlp_mixer": mlp_mixer,
    "quartznet": quartznet,
}
