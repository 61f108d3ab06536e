"""The network of all-MiniLM-L6-v2 (Wang et al. 2020; sentence-transformers): BERT's, six layers, read from safetensors.

Written out because it is short: `transformers` takes seconds to import and wants a working torchvision. It equals
`transformers.BertModel` within 1e-5 (``tests/core/language/test_minilm.py``).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from alignhmr.core.errors import CompatibilityError

_MAX_TOKENS = 64


class MiniLmNetwork:
    """Token features of texts; frozen, on the CPU."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise CompatibilityError(f"{folder} holds no BERT with gelu; give the folder of all-MiniLM-L6-v2")
        self.size, self.heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self.layers, self.epsilon = int(config["num_hidden_layers"]), float(config["layer_norm_eps"])
        self._weights = {
            name: value.float() for name, value in load_file(folder / "model.safetensors").items()
        }
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()

    @torch.no_grad()
    def sentences(self, texts: Sequence[str]) -> Float[Tensor, "texts size"]:
        """Mean of each text's token features, of length one."""
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([row.ids for row in encoded])
        there = torch.tensor([row.attention_mask for row in encoded], dtype=torch.bool)
        tokens = self.tokens(ids, there)
        return F.normalize((tokens * there[..., None]).sum(1), dim=-1)

    @torch.no_grad()
    def tokens(
        self, ids: Int[Tensor, "texts most"], there: Int[Tensor, "texts most"] | Tensor
    ) -> Float[Tensor, "texts most size"]:
        """Features of every token."""
        table = self._weights
        hidden = (
            table["embeddings.word_embeddings.weight"][ids]
            + table["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + table["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm("embeddings.LayerNorm", hidden)
        mask = there.bool()[:, None, None, :]
        for number in range(self.layers):
            layer = f"encoder.layer.{number}."
            query, key, value = (
                self._linear(f"{layer}attention.self.{name}", hidden)
                .unflatten(-1, (self.heads, -1))
                .transpose(1, 2)
                for name in ("query", "key", "value")
            )
            seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            seen = self._linear(f"{layer}attention.output.dense", seen.transpose(1, 2).flatten(2))
            hidden = self._norm(f"{layer}attention.output.LayerNorm", hidden + seen)
            inner = F.gelu(self._linear(f"{layer}intermediate.dense", hidden))
            hidden = self._norm(
                f"{layer}output.LayerNorm", hidden + self._linear(f"{layer}output.dense", inner)
            )
        return hidden

    def _linear(self, name: str, values: Tensor) -> Tensor:
        return F.linear(values, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name: str, values: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(values, (self.size,), weight, bias, self.epsilon)
