"""How well one set finds the other: R@k in both directions, and their mean."""

from jaxtyping import Float, Int
from torch import Tensor

RANKS = (1, 5, 10)


def ranks(similarities: Float[Tensor, "queries items"]) -> Int[Tensor, "queries"]:
    """How many items come before each query's own (item i for query i); ties count against it."""
    own = similarities.diagonal()[:, None]
    ahead = (similarities > own).sum(1)
    tied = (similarities == own).sum(1) - 1
    return ahead + tied


def recalls(found: Float[Tensor, "texts poses"]) -> dict[str, float]:
    """Percentages ``text_to_pose_r1``... and ``mean_recall`` of them all; text i belongs to pose i."""
    told: dict[str, float] = {}
    for name, rows in (("text_to_pose", ranks(found)), ("pose_to_text", ranks(found.T))):
        told |= {f"{name}_r{k}": 100 * float((rows < k).float().mean()) for k in RANKS}
    return told | {"mean_recall": sum(told.values()) / len(told)}
