"""Unseen families A, first part: architectures that the package ``transformers`` defines, with random weights.

Nothing is downloaded: every model is built from a configuration.  Sizes are chosen for 1 to 100 ms on one core.  The
pruned form of each has its channels, heads or inner widths cut to odd numbers, as structured pruning leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Module = Any  # torch.nn.Module; torch is imported only where a model is built


def convnext(pruned: bool) -> tuple[Module, Any]:
    """ConvNeXt: depthwise 7x7, layer normalization over channels, inverted MLP."""
    from transformers import ConvNextConfig, ConvNextModel

    sizes = [37, 73, 147, 301] if pruned else [40, 80, 160, 320]
    return _vision(ConvNextModel(ConvNextConfig(hidden_sizes=sizes, depths=[2, 2, 6, 2])), 192)


def cvt(pruned: bool) -> tuple[Module, Any]:
    """CvT: attention whose queries, keys and values come from depthwise convolutions."""
    from transformers import CvtConfig, CvtModel

    config = CvtConfig(
        embed_dim=[45, 135, 270] if pruned else [48, 144, 288],
        mlp_ratio=[3.3, 3.3, 3.3] if pruned else [4.0, 4.0, 4.0],
        num_heads=[1, 3, 6],
        depth=[1, 2, 4],
    )
    return _vision(CvtModel(config), 192)


def focalnet(pruned: bool) -> tuple[Module, Any]:
    """FocalNet: depthwise contexts of growing size, gated and summed, modulate every position."""
    from transformers import FocalNetConfig, FocalNetModel

    config = FocalNetConfig(
        image_size=192,
        embed_dim=43 if pruned else 48,
        hidden_sizes=[86, 172, 344, 344] if pruned else [96, 192, 384, 384],
        mlp_ratio=3.3 if pruned else 4.0,
        depths=[2, 2, 3, 2],
    )
    return _vision(FocalNetModel(config, add_pooling_layer=False), 192)


def poolformer(pruned: bool) -> tuple[Module, Any]:
    """PoolFormer: pooling in the place of attention, group normalization."""
    from transformers import PoolFormerConfig, PoolFormerModel

    sizes = [43, 85, 187, 301] if pruned else [48, 96, 224, 352]
    config = PoolFormerConfig(hidden_sizes=sizes, depths=[2, 2, 4, 2], mlp_ratio=3.3 if pruned else 4.0)
    return _vision(PoolFormerModel(config), 192)


def segformer(pruned: bool) -> tuple[Module, Any]:
    """SegFormer: a pyramid of reduced attention with convolutions in its MLPs, and an all-MLP decoder."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[29, 58, 145, 232] if pruned else [32, 64, 160, 256],
        decoder_hidden_size=211 if pruned else 256,
        mlp_ratios=[3, 3, 3, 3] if pruned else [4, 4, 4, 4],
        attn_implementation="eager",
    )
    return _vision(SegformerForSemanticSegmentation(config), 192)


def levit(pruned: bool) -> tuple[Module, Any]:
    """LeViT: a convolutional stem, then attention with batch-normalized projections that shrinks the plane."""
    from transformers import LevitConfig, LevitModel

    config = LevitConfig(
        hidden_sizes=[109, 217, 331] if pruned else [128, 256, 384],
        key_dim=[15, 15, 15] if pruned else [16, 16, 16],
        num_attention_heads=[4, 6, 8],
        depths=[2, 3, 4],
    )
    return _vision(LevitModel(config), 224)


def mobilevit(pruned: bool) -> tuple[Module, Any]:
    """MobileViT: inverted residuals with transformers over unfolded patches between them."""
    from transformers import MobileViTConfig, MobileViTModel

    config = MobileViTConfig(
        image_size=192,
        hidden_sizes=[84, 108, 132] if pruned else [96, 120, 144],
        neck_hidden_sizes=[15, 29, 43, 57, 73, 89, 301] if pruned else [16, 32, 48, 64, 80, 96, 384],
        attn_implementation="eager",
    )
    return _vision(MobileViTModel(config), 192)


def squeezebert(pruned: bool) -> tuple[Module, Any]:
    """SqueezeBERT: an encoder whose products are grouped convolutions over the sequence."""
    from transformers import SqueezeBertConfig, SqueezeBertModel

    width = 308 if pruned else 384
    config = SqueezeBertConfig(
        vocab_size=4000,
        hidden_size=width,
        embedding_size=width,
        num_attention_heads=4,
        intermediate_size=1012 if pruned else 1536,
        num_hidden_layers=4,
        attn_implementation="eager",
    )
    return _tokens(SqueezeBertModel(config), 4000, 64)


def t5_encoder(pruned: bool) -> tuple[Module, Any]:
    """The encoder of T5: relative positions, root mean square normalization, no biases."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=4000,
        d_model=384,
        d_kv=53 if pruned else 64,
        d_ff=1211 if pruned else 1536,
        num_heads=6,
        num_layers=4,
        attn_implementation="eager",
    )
    return _tokens(T5EncoderModel(config), 4000, 72)


def wav2vec2(pruned: bool) -> tuple[Module, Any]:
    """wav2vec 2.0: one-dimensional convolutions over raw sound, then a transformer; 0.75 s at 16 kHz."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    width = 117 if pruned else 128
    config = Wav2Vec2Config(
        hidden_size=252 if pruned else 256,
        num_attention_heads=4,
        num_hidden_layers=4,
        intermediate_size=811 if pruned else 1024,
        conv_dim=[width] * 7,
        num_conv_pos_embeddings=64,
        num_conv_pos_embedding_groups=4,
        attn_implementation="eager",
    )
    model = Wav2Vec2Model(config).eval()
    # The weight of the positional convolution is normalized on every run unless it is made plain first.
    torch.nn.utils.parametrize.remove_parametrizations(model.encoder.pos_conv_embed.conv, "weight")
    return _hidden_state(model, "input_values"), torch.randn(1, 12000)


CONFIGURED: Mapping[str, Callable[[bool], tuple[Module, Any]]] = {
    "convnext": convnext,
    "cvt": cvt,
    "focalnet": focalnet,
    "poolformer": poolformer,
    "segformer": segformer,
    "levit": levit,
    "mobilevit": mobilevit,
    "squeezebert": squeezebert,
    "t5_encoder": t5_encoder,
    "wav2vec2": wav2vec2,
}


def _vision(model: Module, side: int) -> tuple[Module, Any]:
    import torch

    return _hidden_state(model, "pixel_values"), torch.randn(1, 3, side, side)


def _tokens(model: Module, vocabulary: int, length: int) -> tuple[Module, Any]:
    import torch

    return _hidden_state(model, "input_ids"), torch.randint(0, vocabulary, (1, length))


def _hidden_state(model: Module, argument: str) -> Module:
    """The model as a function from one tensor to its main result."""
    import torch

    class MainResult(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(**{argument: x}, return_dict=True)[0]

    return MainResult().eval()
