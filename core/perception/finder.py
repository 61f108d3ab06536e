"""Who finds people and cuts out what models look at of each, before any model of bodies is there."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.perception.detector import Detector
from alignhmr.core.perception.views import with_views
from alignhmr.core.records import Person, Picture


@dataclass(frozen=True)
class Finder:
    detector: Detector

    def find(self, picture: Picture) -> list[Person]:
        """People in the picture, most confident first, with views of them."""
        return with_views(picture, self.detector.find(picture))

    def from_boxes(self, picture: Picture, boxes_px: Float[np.ndarray, "people 4"]) -> list[Person]:
        """One person for each given box, with views of them."""
        return with_views(picture, self.detector.from_boxes(picture, boxes_px))
