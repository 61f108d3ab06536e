"""The starter's architecture with random weights, at its smallest: vLLM and `transformers` load it like any other."""

from pathlib import Path

from alignhmr.core.language.starter_vlm import StarterVlmConfig, starter_processor, starter_vlm

TINY = StarterVlmConfig(
    56, vision_width=32, vision_blocks=1, vision_feed=2, width=32, blocks=1, feed_forward=64
)


def make_tiny_vlm(folder: Path) -> Path:
    """Writes the model in Hugging Face's layout, as somebody else's, and returns its folder."""
    starter_vlm(TINY).save_pretrained(folder)
    starter_processor(TINY.picture_px).save_pretrained(folder)
    return folder
