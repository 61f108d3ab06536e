"""Attention against a slow reference, masks, shared keys, and activations worked out again."""

import math

import pytest
import torch

from alignhmr.core.diffusion.attention import Attention, Layer, Layers
from alignhmr.core.errors import InputError


def numbers(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def slowly(
    attention: Attention, tokens: torch.Tensor, source: torch.Tensor, sees: torch.Tensor
) -> torch.Tensor:
    """One query, one head, one key at a time, in float64."""
    attention = attention.double()
    query, both = attention.query(tokens.double()), attention.key_and_value(source.double())
    width = query.shape[-1]
    key, value = both[..., :width], both[..., width:]
    size = width // attention.heads
    found = torch.zeros_like(query)
    for b, q, h in torch.cartesian_prod(*map(torch.arange, (*query.shape[:2], attention.heads))).tolist():
        part = slice(h * size, (h + 1) * size)
        weights = [
            math.exp(float(query[b, q, part] @ key[b, k, part]) / math.sqrt(size)) * float(sees[b, q, k])
            for k in range(key.shape[1])
        ]
        for k, weight in enumerate(weights):
            found[b, q, part] += weight / sum(weights) * value[b, k, part]
    return attention.out(found)


def test_attention_is_the_slow_sum_over_what_is_seen() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, 6)
    tokens, source = numbers(2, 3, 8), numbers(2, 5, 6, seed=1)
    sees = numbers(2, 3, 5, seed=2) > -0.3
    sees[..., 0] = True
    found = attention(tokens, source, sees)
    torch.testing.assert_close(found.double(), slowly(attention, tokens, source, sees), atol=1e-5, rtol=1e-5)


def test_each_group_of_a_person_asks_that_persons_source() -> None:
    torch.manual_seed(0)
    layer = Layer(8, 2, 16, source_width=6)
    tokens, source, seen = numbers(6, 3, 8), numbers(2, 5, 6, seed=1), numbers(2, 5, seed=2) > -0.5
    together = layer(tokens, None, source, seen)
    copied = layer(tokens, None, source.repeat_interleave(3, 0), seen.repeat_interleave(3, 0))
    torch.testing.assert_close(together, copied)


def test_worked_out_again_is_the_same_to_the_gradient() -> None:
    torch.manual_seed(0)
    layers = Layers([Layer(8, 2, 16, source_width=6) for _ in range(2)])
    source = numbers(2, 5, 6, seed=1)
    gradients = []
    for on in (False, True):
        layers.recompute = on
        tokens = numbers(4, 3, 8).requires_grad_()
        layers.zero_grad()
        layers(tokens, [None, None], source).square().sum().backward()
        gradients.append([tokens.grad, *(torch.clone(p.grad) for p in layers.parameters())])  # type: ignore[arg-type]
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients[0])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


@pytest.mark.parametrize("heads", [0, 3, -1])
def test_heads_that_do_not_share_the_width_are_refused(heads: int) -> None:
    with pytest.raises(InputError, match="divisor of 8"):
        Attention(8, heads, 8)
