"""The network to train: a ResNet of five residual blocks for 32x32 grey images (330 thousand weights, 88 MMACs).

Widths and depths are chosen so that the file stays under 2 MB while one image takes over a millisecond on one thread,
spread over the shapes that real networks have: large and small maps, strided convolutions, 1x1 shortcuts, sums.
"""

from __future__ import annotations

from torch import Tensor, nn

from autocompress.bundled.digits import CLASSES

STEM_CHANNELS = 48
STAGES = ((48, 1, 1), (64, 2, 2), (96, 1, 2))
"""Channels, number of blocks, stride of the first block; for each stage."""


class ConvNorm(nn.Sequential):  # type: ignore[misc]
    """A convolution without bias, then batch normalization."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)


class Block(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels_in, channels_out, 3, stride)
        self.conv2 = ConvNorm(channels_out, channels_out, 3, 1)
        reshaped = stride != 1 or channels_in != channels_out
        self.shortcut = ConvNorm(channels_in, channels_out, 1, stride) if reshaped else None

    def forward(self, x: Tensor) -> Tensor:
        """From shape (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        kept = x if self.shortcut is None else self.shortcut(x)
        return (self.conv2(self.conv1(x).relu()) + kept).relu()


class DigitsResNet(nn.Module):  # type: ignore[misc]
    """Images of shape (n, 1, 32, 32) to logits of shape (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, STEM_CHANNELS, 3, 1)
        channels = STEM_CHANNELS
        self.stages = nn.ModuleList()
        for width, blocks, stride in STAGES:
            rest = [Block(width, width, 1) for _ in range(blocks - 1)]
            self.stages.append(nn.ModuleList([Block(channels, width, stride), *rest]))
            channels = width
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of shape (n, 10)."""
        x = self.stem(image).relu()
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.classifier(x.mean((2, 3)))
