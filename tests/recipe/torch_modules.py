"""Tiny PyTorch modules of the kinds that people bring, with random weights, and inputs of any size for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

VOCABULARY = 40


class Gate(nn.Module):
    """A custom module with a parameter of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.randn(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x * self.strength[:, None, None])


class ConvNet(nn.Module):
    """Convolutions with BatchNorm, a residual branch and a custom activation; returns scores and features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.gate = Gate(16)
        self.branch = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.gate(self.norm(self.stem(image)))
        features = (torch.relu(self.branch(x)) + x).mean((2, 3))
        return {"scores": self.head(features), "features": features}


class VisionTransformer(nn.Module):
    """Patches, a class token, positions and one stock encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.positions = nn.Parameter(torch.randn(1, 17, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.layer(x)[:, 0])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return self.out((torch.softmax(scores + mask, -1) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width, 2)
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(x + self.attention(x, mask))
        return self.last(x + self.narrow(nn.functional.gelu(self.wide(x))))


class Encoder(nn.Module):
    """BERT's shape: token and position embeddings, a padding mask, a mean over the words that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, 32), nn.Embedding(64, 32)
        self.block = Block(32)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        present = attention_mask[:, None, None, :].to(torch.float32)
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        x = self.block(x, (1 - present) * -1e4)
        weights = attention_mask[:, :, None].to(torch.float32)
        return (x * weights).sum(1) / weights.sum(1)


class Decoder(nn.Module):
    """A causal language model whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 32)
        self.block = Block(32)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        length = input_ids.shape[1]
        future = torch.triu(torch.full((length, length), -1e4), diagonal=1)
        return self.block(self.words(input_ids), future) @ self.words.weight.T


class Tagger(nn.Module):
    """A bidirectional LSTM whose initial state is an input, a tuple of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(32, 3)

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, cell = (part.transpose(0, 1).contiguous() for part in state)
        steps, (last, _) = self.lstm(x, (hidden, cell))
        return self.tags(steps), last.transpose(0, 1)


class Counter(nn.Module):
    """Two layers of GRU that begin at zero; only what they end with counts."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 12, num_layers=2, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(x)[0][:, -1])


@dataclass(frozen=True)
class Case:
    """One module, and how to call it.

    Attributes:
        module: makes it.
        inputs: example inputs for a number of samples and a length (or side).
        open: what ``dynamic_shapes`` says.
        sizes: (samples, length) to try.
        folded: parameters that preparing the model merges into others.
    """

    module: Callable[[], nn.Module]
    inputs: Callable[[int, int], Any]
    open: Any = None
    sizes: tuple[tuple[int, int], ...] = ((1, 16), (3, 16))
    folded: tuple[str, ...] = ()


def _image(samples: int, side: int) -> torch.Tensor:
    return torch.randn(samples, 3, side, side)


def _words(samples: int, length: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (samples, length))


def _padded(samples: int, length: int) -> dict[str, torch.Tensor]:
    mask = torch.ones(samples, length, dtype=torch.int64)
    mask[0, length // 2 :] = 0
    return {"input_ids": _words(samples, length), "attention_mask": mask}


def _with_state(samples: int, length: int) -> tuple[Any, ...]:
    state = (torch.randn(samples, 2, 16), torch.randn(samples, 2, 16))
    return torch.randn(samples, length, 8), state


def _steps(samples: int, length: int) -> torch.Tensor:
    return torch.randn(samples, length, 8)


_SEQUENCE = {1: "sequence"}
_SIDES = {2: "height", 3: "width"}
_LENGTHS = ((1, 7), (3, 12), (2, 1))
CASES = {
    "convolutional": Case(
        ConvNet, _image, ({2: "height", 3: "width"},), ((1, 8), (3, 12)), ("norm.weight", "norm.bias")
    ),
    "vision transformer": Case(VisionTransformer, _image),
    "encoder": Case(Encoder, _padded, {"input_ids": _SEQUENCE, "attention_mask": _SEQUENCE}, _LENGTHS[:2]),
    "decoder": Case(Decoder, _words, (("batch", "sequence"),), _LENGTHS),
    "recurrent": Case(Tagger, _with_state, (_SEQUENCE,), _LENGTHS),
    "gated recurrent": Case(Counter, _steps, (_SEQUENCE,), _LENGTHS),
}
