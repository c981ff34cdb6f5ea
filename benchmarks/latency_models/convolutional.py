"""Unseen families A, second part: convolutional classics that the zoo lacks, written down from their papers.

``width(n)`` gives the channels of a layer: n as it stands, or an odd number below it in the pruned form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Width = Callable[[int], int]


def widths(pruned: bool) -> Width:
    """Channels as they are, or cut by a tenth to a fifth to odd numbers."""
    return (lambda n: n) if not pruned else (lambda n: max(3, int(n * (0.8 + 0.1 * (n % 3) / 2))) | 1)


def conv(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Module:
    """Convolution, batch normalization and, usually, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class Ghost(nn.Module):
    """GhostNet (Han et al., 2020): half of the channels come from cheap depthwise work on the other half."""

    def __init__(self, inputs: int, outputs: int, act: bool = True) -> None:
        super().__init__()
        self.outputs = outputs
        first = -(-outputs // 2)
        self.primary = conv(inputs, first, act=act)
        self.cheap = conv(first, first, 3, groups=first, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Both halves, cut to the channels asked for."""
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)[:, : self.outputs]


class GhostBottleneck(nn.Module):
    """Expand and project with ghost modules around an optional strided depthwise convolution."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = [conv(inner, inner, 3, stride=2, groups=inner, act=False)] if stride == 2 else []
        self.body = nn.Sequential(Ghost(inputs, inner), *middle, Ghost(inner, outputs, act=False))
        same = stride == 1 and inputs == outputs
        shortcut = [conv(inputs, inputs, 3, stride=stride, groups=inputs, act=False), conv(inputs, outputs, act=False)]
        self.shortcut = nn.Identity() if same else nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Sum of body and shortcut."""
        return self.body(x) + self.shortcut(x)


def ghostnet(pruned: bool) -> tuple[nn.Module, Tensor]:
    """GhostNet at 224x224."""
    width = widths(pruned)
    rows = [(16, 16, 1), (48, 24, 2), (72, 24, 1), (72, 40, 2), (120, 40, 1), (240, 80, 2), (200, 80, 1), (184, 80, 1),
            (480, 112, 1), (672, 160, 2), (960, 160, 1)]  # fmt: skip
    channels = width(16)
    layers: list[nn.Module] = [conv(3, channels, 3, stride=2)]
    for inner, outputs, stride in rows:
        layers.append(GhostBottleneck(channels, width(inner), width(outputs), stride))
        channels = width(outputs)
    return _classifier(layers, channels), torch.randn(1, 3, 224, 224)


class Res2(nn.Module):
    """Res2Net (Gao et al., 2019): the 3x3 of a bottleneck becomes a chain over four slices of the channels."""

    def __init__(self, inputs: int, slice_width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.slice_width = slice_width
        self.enter = conv(inputs, 4 * slice_width, stride=stride)
        self.chain = nn.ModuleList(conv(slice_width, slice_width, 3) for _ in range(3))
        self.leave = conv(4 * slice_width, outputs, act=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, stride=stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Each slice sees its own channels and what the slice before made of its."""
        first, *slices = torch.split(self.enter(x), self.slice_width, 1)
        made = [first]
        for layer, part in zip(self.chain, slices, strict=True):
            made.append(layer(part if len(made) == 1 else part + made[-1]))
        return torch.relu(self.leave(torch.cat(made, 1)) + self.shortcut(x))


def res2net(pruned: bool) -> tuple[nn.Module, Tensor]:
    """A Res2Net of 8 blocks at 176x176."""
    width = widths(pruned)
    channels = width(32)
    layers: list[nn.Module] = [conv(3, channels, 3, stride=2), nn.MaxPool2d(3, 2, 1)]
    for slice_width, outputs, stride in ((14, 96, 1), (26, 192, 2), (52, 384, 2), (104, 640, 2)):
        for step in (stride, 1):
            layers.append(Res2(channels, width(slice_width), width(outputs), step))
            channels = width(outputs)
    return _classifier(layers, channels), torch.randn(1, 3, 176, 176)


class Exchange(nn.Module):
    """HRNet (Wang et al., 2019): branches of several resolutions, then every branch sums all others."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(conv(c, c, 3), conv(c, c, 3)) for c in channels)
        self.routes = nn.ModuleList(
            nn.ModuleList(_route(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, planes: list[Tensor]) -> list[Tensor]:
        """One plane per resolution in and out."""
        planes = [branch(x) for branch, x in zip(self.branches, planes, strict=True)]
        results = []
        for routes in self.routes:
            routed = [route(x) for route, x in zip(routes, planes, strict=True)]
            total = routed[0]
            for other in routed[1:]:
                total = total + other
            results.append(torch.relu(total))
        return results


def _route(channels: list[int], source: int, target: int) -> nn.Module:
    """From one resolution to another: strided 3x3 downwards, 1x1 and nearest interpolation upwards."""
    if source == target:
        return nn.Identity()
    if source > target:
        project = conv(channels[source], channels[target], act=False)
        return nn.Sequential(project, nn.Upsample(scale_factor=2 ** (source - target)))
    steps = [conv(channels[source], channels[source], 3, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, conv(channels[source], channels[target], 3, stride=2, act=False))


class HighResolution(nn.Module):
    """Three resolutions in parallel, two exchanges, joined at the largest."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, channels[0], 3, stride=2), conv(channels[0], channels[0], 3, stride=2))
        self.descend = nn.ModuleList(conv(channels[i], channels[i + 1], 3, stride=2) for i in range(len(channels) - 1))
        self.stages = nn.ModuleList(Exchange(channels) for _ in range(2))
        self.grow = nn.ModuleList(nn.Upsample(scale_factor=2**i) if i else nn.Identity() for i in range(len(channels)))
        self.head = nn.Sequential(conv(sum(channels), 64), nn.Conv2d(64, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Heat maps at a quarter of the resolution."""
        planes = [self.stem(x)]
        for layer in self.descend:
            planes.append(layer(planes[-1]))
        for stage in self.stages:
            planes = stage(planes)
        return self.head(torch.cat([layer(p) for layer, p in zip(self.grow, planes, strict=True)], 1))


def hrnet(pruned: bool) -> tuple[nn.Module, Tensor]:
    """A small HRNet for 17 key points at 192x160."""
    width = widths(pruned)
    return HighResolution([width(18), width(36), width(72)], 17), torch.randn(1, 3, 192, 160)


def _classifier(layers: list[nn.Module], channels: int) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 500))


CONVOLUTIONAL: Mapping[str, Callable[[bool], tuple[Any, Any]]] = {
    "ghostnet": ghostnet,
    "res2net": res2net,
    "hrnet": hrnet,
}
