"""Layers of transformers: pre-norm, with masks that say what sees what.

Half precision is the caller's business (autocast); what is summed over layers stays in float32.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from alignhmr.core.errors import InputError


class Attention(nn.Module):
    """Multi-head attention of some tokens to a source of others, or to themselves."""

    def __init__(self, width: int, heads: int, source_width: int) -> None:
        super().__init__()
        if heads <= 0 or width % heads:
            raise InputError(
                f"tokens of width {width} can't be shared by {heads} heads; give a divisor of {width}"
            )
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_and_value = nn.Linear(source_width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        tokens: Float[Tensor, "batch queries width"],
        source: Float[Tensor, "batch keys source"],
        sees: Bool[Tensor, "#batch #queries keys"] | None,
    ) -> Float[Tensor, "batch queries width"]:
        """Each query must see at least one key."""
        query = self._by_head(self.query(tokens))
        key, value = (self._by_head(half) for half in self.key_and_value(source).chunk(2, -1))
        mask = None if sees is None else sees[:, None]
        found = nn.functional.scaled_dot_product_attention(query, key, value, mask)
        return self.out(found.transpose(1, 2).flatten(-2))

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Attention of tokens to each other, to a source if there is one, and an MLP, each added to the tokens."""

    def __init__(self, width: int, heads: int, feed_forward: int, source_width: int | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, width)
        if source_width is not None:
            self.norm_source = nn.LayerNorm(width)
            self.to_source = Attention(width, heads, source_width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width))

    def forward(
        self,
        tokens: Float[Tensor, "groups tokens width"],
        sees: Bool[Tensor, "#groups #tokens tokens"] | None,
        source: Float[Tensor, "people keys source"] | None = None,
        seen: Bool[Tensor, "people keys"] | None = None,
    ) -> Float[Tensor, "groups tokens width"]:
        """Groups are people, or several of each person one after another, who then share the person's keys."""
        normal = self.norm(tokens)
        tokens = tokens + self.attention(normal, normal, sees)
        if source is not None:
            queries = self.norm_source(tokens).reshape(len(source), -1, tokens.shape[-1])
            found = self.to_source(queries, source, None if seen is None else seen[:, None])
            tokens = tokens + found.reshape(tokens.shape)
        return tokens + self.mlp(self.norm_mlp(tokens))


class Layers(nn.Module):
    """One after another."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.recompute = False
        """Whether gradients work a layer's activations out again instead of keeping them."""

    def forward(
        self,
        tokens: Float[Tensor, "groups tokens width"],
        sees: Sequence[Bool[Tensor, "#groups #tokens tokens"] | None],
        source: Float[Tensor, "people keys source"] | None = None,
        seen: Bool[Tensor, "people keys"] | None = None,
    ) -> Float[Tensor, "groups tokens width"]:
        """``sees`` has one mask a layer."""
        for layer, mask in zip(self.layers, sees, strict=True):
            if self.recompute and torch.is_grad_enabled():
                tokens = checkpoint(layer, tokens, mask, source, seen, use_reentrant=False)  # pyright: ignore
            else:
                tokens = layer(tokens, mask, source, seen)
        return tokens
