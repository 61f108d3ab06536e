"""What `alignhmr caption` does: people in photos described in this process, by `transformers`; no Ray, no vLLM.

For a look at what a model says before it captions a million pictures. The answer is asked for at temperature 0, and
again by sampling where it is nonsense.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from alignhmr.core.errors import InputError, NoPersonError
from alignhmr.core.language.captions import AGAIN, PROMPT, ParsedCaption, parse
from alignhmr.core.language.shown import Shown
from alignhmr.core.language.vlm_folder import load_vlm, resolve_vlm, shown_to
from alignhmr.core.perception.detector import load_detector, own_threads
from alignhmr.core.perception.images import decode
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.runtime import resolve_device
from alignhmr.deployments.shown import shown_jpeg

_SIDE_PX = 448
"""Of pictures for models that were never told how people are shown."""


class OnePicture:
    """A vision-language model in a folder, in Hugging Face's format."""

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        """Raises CaptionerError where the folder holds no model that answers about pictures."""
        torchvision_shim.install()
        model, self._processor = load_vlm(folder)
        self._model: Any = model.to(device)
        self._device = device
        self.shown = shown_to(Path(folder).expanduser()) or Shown(False, _SIDE_PX)

    def caption(self, jpeg: bytes, *, max_tokens: int = 1024, tries: int = 2, seed: int = 0) -> ParsedCaption:
        """What the model says of the person in the picture; of several tries the first that can be used."""
        import torch
        from PIL import Image

        with Image.open(io.BytesIO(jpeg)) as opened:
            picture = opened.convert("RGB")
        content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        given = self._processor(text=[text], images=[picture], return_tensors="pt").to(self._device)
        said = ParsedCaption(reason="empty")
        for number in range(max(1, tries)):
            torch.manual_seed(seed + number)
            sampling = {"do_sample": True, "temperature": 0.5} if number else {"do_sample": False}
            with torch.no_grad():
                tokens = self._model.generate(**given, max_new_tokens=max_tokens, **sampling)
            answer = tokens[:, given["input_ids"].shape[1] :]
            said = parse(self._processor.batch_decode(answer, skip_special_tokens=True)[0])
            if said.reason not in AGAIN:
                break
        return said


def run(
    photos: Sequence[Path], *, model: str = "starter", detector: str = "blazepose", device: str = "auto",
    max_tokens: int = 1024, as_json: bool = False, keep: Path | None = None,
) -> None:  # fmt: skip
    """Prints what the model says of each person; ``keep`` is a folder for the pictures that it was shown.

    A photo that can't be used costs itself; InputError where none can.
    """
    device = resolve_device(device)
    console = Console(highlight=False, soft_wrap=True)
    vlm = OnePicture(resolve_vlm(model), device=device)
    finder = load_detector(detector, device, threads=own_threads())
    told: list[dict[str, Any]] = []
    lost: list[InputError] = []
    for number, photo in enumerate(photos):
        try:
            told += _photo(vlm, finder, number, photo, max_tokens, keep)
        except InputError as error:
            lost.append(error)
            if len(photos) > 1:
                Console(stderr=True).print(f"{photo}: {error}", style="red", markup=False)
    if not told:
        raise lost[0]
    if as_json:
        print(json.dumps(told, indent=1))
        return
    for one in told:
        console.print(f"{one['photo']} person {one['person']}", style="bold", markup=False)
        for sentence in one["sentences"].values():
            console.print(f"  {sentence}", markup=False)
        if one["reason"]:
            console.print(f"  {one['reason']} {one['detail']}", style="red", markup=False)


def _photo(
    vlm: OnePicture, finder: Any, number: int, photo: Path, max_tokens: int, keep: Path | None
) -> list[dict[str, Any]]:
    try:
        picture = decode(photo.read_bytes())
    except OSError as error:
        raise InputError(f"{photo} can't be read: {error.strerror}") from error
    people = finder.find(picture)
    if not people:
        raise NoPersonError(f"nobody was found in {photo}; give a photo with a person in it")
    told = []
    for index, person in enumerate(people):
        jpeg = shown_jpeg(picture, person, vlm.shown)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}-{photo.stem}-{index}.jpg").write_bytes(jpeg)
        said = vlm.caption(jpeg, max_tokens=max_tokens)
        told.append({"photo": photo.name, "person": index, **asdict(said)})
    return told
