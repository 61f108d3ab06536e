"""The models of a run by name; a worker turns them into the one object that its stage needs, and checks the digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alignhmr.core.errors import CompatibilityError
from alignhmr.deployments.prepared import NobodySearched

if TYPE_CHECKING:
    from alignhmr.core.perception.detector import Detector
    from alignhmr.core.recovery import Recoverer


@dataclass(frozen=True)
class Models:
    """Names of the models. It travels to the workers."""

    base: str
    scorer: str
    body: str
    detector: str
    device: str
    expected: Mapping[str, str] = field(default_factory=dict)
    """Name -> NAME:DIGEST that the driver found; another node's file of the same name may be another model."""

    def load_detector(self) -> "Detector":
        from alignhmr.core.perception.detector import load_detector

        detector = load_detector(self.detector, self.device)
        check_digests({"detector": f"{detector.name}:{detector.digest[:16]}"}, self.expected)
        return detector

    def load_recoverer(self, *, whole: bool = False) -> "Recoverer":
        """``whole``: with the detector, which the stages after it don't need."""
        from alignhmr.core.recovery import Recoverer

        detector: Any = self.detector if whole else NobodySearched()
        recoverer = Recoverer.load(
            base=self.base, scorer=self.scorer, body=self.body, detector=detector, device=self.device
        )
        found = {name: text for name, text in recoverer.models.items() if whole or name != "detector"}
        check_digests(found, self.expected)
        return recoverer


def check_digests(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """CompatibilityError where a model isn't the one asked for.

    ``expected`` holds whole texts ``NAME:DIGEST``, or the first digits of a digest.
    """
    for name in found.keys() & expected.keys():
        text, wanted = found[name], expected[name]
        if text != wanted and not (len(wanted) >= 4 and text.rpartition(":")[2].startswith(wanted)):
            raise CompatibilityError(
                f"the {name} is {text}, asked for was {wanted}; give the file with that digest on every node, or"
                " correct 'digests' in the config file"
            )
