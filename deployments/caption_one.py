"""One person's picture captioned in this process, by `transformers`: no Ray, no server, no vLLM.

For a look at what a model says before it captions a million pictures. The answer is asked for at temperature 0, and
again by sampling where it is nonsense.
"""

import io
from pathlib import Path
from typing import Any

from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import AGAIN, PROMPT, ParsedCaption, parse
from alignhmr.deployments import torchvision_shim


class OnePicture:
    """A vision-language model in a folder, in Hugging Face's format."""

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        """Raises CaptionerError where the folder holds no model that answers about pictures."""
        torchvision_shim.install()
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise CaptionerError(f"there is no model folder {folder}; give the folder of a downloaded model")
        try:
            self._processor: Any = AutoProcessor.from_pretrained(str(folder), local_files_only=True)
            model: Any = AutoModelForImageTextToText.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:160]
            raise CaptionerError(
                f"the vision-language model in {folder} can't be used: {reason}; download it again"
            ) from error
        self._model: Any = model.to(device).eval()
        self._device, self._torch = device, torch

    def caption(self, jpeg: bytes, *, max_tokens: int = 512, tries: int = 2, seed: int = 0) -> ParsedCaption:
        """What the model says of the person in the picture; of several tries the first that can be used."""
        from PIL import Image

        with Image.open(io.BytesIO(jpeg)) as opened:
            picture = opened.convert("RGB")
        content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        given = self._processor(text=[text], images=[picture], return_tensors="pt").to(self._device)
        said = ParsedCaption(reason="empty")
        for number in range(max(1, tries)):
            self._torch.manual_seed(seed + number)
            sampling = {"do_sample": True, "temperature": 0.5} if number else {"do_sample": False}
            with self._torch.no_grad():
                tokens = self._model.generate(**given, max_new_tokens=max_tokens, **sampling)
            answer = tokens[:, given["input_ids"].shape[1] :]
            said = parse(self._processor.batch_decode(answer, skip_special_tokens=True)[0])
            if said.reason not in AGAIN:
                break
        return said
