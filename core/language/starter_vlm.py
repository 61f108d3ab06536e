"""The starter vision-language model: Qwen2-VL's architecture (Wang et al., 2024), small enough for a CPU to teach.

Its tokenizer knows what it is asked and answers by heart: the question (``captions.PROMPT``) is one token, and so is
each category of each fact together with the punctuation up to the next one. An answer is then one choice for each fact,
37 of them, and still the JSON that any other model would write. All other text is spelt in bytes and short pieces.
Folders of such models are in Hugging Face's format; vLLM and `transformers` serve them as they are.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from alignhmr.core.errors import InputError
from alignhmr.core.language.captions import PROMPT, UNKNOWN, answer_of, asked
from alignhmr.core.language.facts import PARTS
from alignhmr.core.language.lexicon import WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CHAT_TEMPLATE = """\
{%- for m in messages %}<|im_start|>{{ m['role'] }}
{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}\
{% if c['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
PATCH_PX, MERGED = 14, 2
CELL_PX = PATCH_PX * MERGED
"""Pixels that one token of a picture stands for, on a side."""
_HEAD = 32
"""Numbers of an attention head: the smallest that vLLM's CPU kernels take."""
_PIECES = 512
"""Pieces of ordinary text, bytes among them."""
_LONGEST = 4096
_MEAN, _STD = 0.18, 0.1
"""Of the pixels of drawn people, about, in 0..1. Those of photos leave these dark pictures a large constant, beside
which a new model sees nothing else: 10,000 people don't teach it to look."""
_EMBEDDING_STD = 0.1
_OFTEN = 1000
"""So that words which stand in every conversation are one token each."""


@dataclass(frozen=True)
class StarterVlmConfig:
    picture_px: int = 112
    """Side of the pictures; a multiple of ``CELL_PX``."""
    vision_width: int = 128
    """Multiples of 32, as is ``width``."""
    vision_blocks: int = 3
    vision_feed: int = 3
    """Times as wide as the rest."""
    width: int = 160
    blocks: int = 3
    feed_forward: int = 448

    def __post_init__(self) -> None:
        for name, step in (("picture_px", CELL_PX), ("vision_width", _HEAD), ("width", _HEAD)):
            if getattr(self, name) % step:
                raise InputError(f"{name} is {getattr(self, name)}; give a multiple of {step}")


def answer_tokens() -> list[str]:
    """What an answer is put together from: its beginning; then of each fact in order each category, with what follows
    up to the next."""
    pieces = answer_of({}).split(UNKNOWN)
    facts = [fact for part in PARTS for fact in asked(part)]
    tokens = [pieces[0]]
    for fact, end in zip(facts, pieces[1:], strict=True):
        tokens += [category + end for category in (*fact.scale.names, UNKNOWN)]
    return list(dict.fromkeys(tokens))


def starter_tokenizer() -> "PreTrainedTokenizerFast":
    """The same one each time."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_PIECES,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    often = ["user", "assistant"] * _OFTEN
    tokenizer.train_from_iterator([PROMPT, answer_of({}), *_sentences(), *often], trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (PROMPT, *answer_tokens())])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=_LONGEST,
    )


def starter_processor(picture_px: int) -> "Qwen2VLProcessor":
    """Makes what the model takes of a conversation and its pictures, all of one size."""
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    pixels = picture_px * picture_px
    size = {"shortest_edge": pixels, "longest_edge": pixels}
    patches = {
        "patch_size": PATCH_PX,
        "merge_size": MERGED,
        "temporal_patch_size": 2,
        "size": size,
        "min_pixels": pixels,
        "max_pixels": pixels,
        "image_mean": [_MEAN] * 3,
        "image_std": [_STD] * 3,
    }
    return Qwen2VLProcessor(
        Qwen2VLImageProcessor(**patches),
        starter_tokenizer(),
        Qwen2VLVideoProcessor(**patches),
        chat_template=CHAT_TEMPLATE,
    )


def starter_vlm(config: StarterVlmConfig, seed: int = 0) -> "Qwen2VLForConditionalGeneration":
    """New weights, on the CPU in float32; the same seed gives the same ones."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tokenizer = starter_tokenizer()
    ids: dict[str, int] = {name: tokenizer.get_vocab()[name] for name in SPECIAL}
    heads = config.width // _HEAD
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": _LONGEST,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},  # time, rows, columns: half a head
        "tie_word_embeddings": True,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": config.vision_blocks,
        "embed_dim": config.vision_width,
        "hidden_size": config.width,
        "num_heads": config.vision_width // _HEAD,
        "mlp_ratio": config.vision_feed,
        "in_channels": 3,
        "patch_size": PATCH_PX,
        "spatial_merge_size": MERGED,
        "temporal_patch_size": 2,
    }
    whole = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    whole.architectures = ["Qwen2VLForConditionalGeneration"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2VLForConditionalGeneration(whole)
        _scale(model)
    assert model.generation_config is not None
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model.float()


def _scale(model: nn.Module) -> None:
    """New weights whose layers keep the size of what goes through them.

    The architecture's own deviation of 0.02 is meant for thousands of channels; with a hundred, pictures fade on their
    way, and the model answers what is frequent.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=_EMBEDDING_STD)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv3d) and not name.endswith(
            "lm_head"
        ):  # which is the embedding
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)


def _sentences() -> list[str]:
    """Some of what is said of poses, for the pieces of ordinary words."""
    return [predicate for words in WORDS.values() for row in words.predicates.values() for predicate in row]
