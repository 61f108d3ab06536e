"""What can be said of a pose: every fact, the number it is read off, and the thresholds that cut it into categories.

``SCALES`` is the one table of thresholds. Left and right are the person's own. Sided facts come in pairs whose
measure is taken towards the person's own side, so that a mirrored pose has the mirrored facts.

The kinds are those of PoseScript (Delmas et al., ECCV 2022): bends, distances, relative positions along the three
axes, pitch and roll of limbs, ground contact; with inclination and facing of the body. Thresholds are our own: cut
where a person would change the word, and so that none of a limb's categories holds more than half of made poses.
"""

from dataclasses import dataclass, field

PARTS: tuple[str, ...] = ("head", "torso", "left_arm", "right_arm", "left_leg", "right_leg")
SIDES = ("left", "right")


@dataclass(frozen=True)
class Scale:
    """One kind of number and how it is cut; category i lies between edge i - 1 and edge i."""

    edges: tuple[float, ...]
    categories: tuple[str, ...]
    softness: float
    """Standard deviation of what the number may be off, in its own unit: how confident a category is near an edge."""
    cyclic: bool = False
    """Degrees in -180..180 whose first and last category are one."""
    silent: tuple[str, ...] = ()
    """Categories that go without saying."""

    @property
    def names(self) -> tuple[str, ...]:
        """The categories, each once."""
        return tuple(dict.fromkeys(self.categories))


SCALES: dict[str, Scale] = {
    # Degrees by which a joint is bent; 0 is a straight limb.
    "bend": Scale(
        (22, 50, 80, 115), ("straight", "slightly_bent", "half_bent", "right_angle", "fully_bent"), 8
    ),
    # Degrees of a limb above the horizontal: of the body's own axis for arms and thighs, of gravity for shins.
    "pitch": Scale((-60, -22, 22, 60), ("down", "low", "level", "raised", "up"), 8),
    # Degrees about the body's long axis, from straight ahead (0) outwards (90).
    "way": Scale(
        (-140, -25, 30, 65, 115), ("back", "across", "forward", "diagonal", "outward", "back"), 12, cyclic=True
    ),
    # A hand's place along the trunk: 0 at the pelvis, 1 at the neck.
    "height": Scale(
        (-0.15, 0.25, 0.75, 1.1, 1.5), ("below_hips", "hips", "chest", "shoulders", "head", "above_head"), 0.1
    ),
    # Metres (of a person of the mean size) ahead of the shoulder's plane.
    "depth": Scale((-0.08, 0.15, 0.35), ("behind", "beside", "in_front", "far_in_front"), 0.04),
    # Metres outwards from the body's middle.
    "side": Scale((-0.06, 0.1, 0.32, 0.55), ("across", "middle", "own_side", "out", "far_out"), 0.05),
    "spread": Scale((0.22, 0.5, 0.9), ("close", "apart", "wide", "very_wide"), 0.06),
    "touch": Scale((0.16,), ("near", "away"), 0.04, silent=("away",)),
    "touch_head": Scale((0.26,), ("near", "away"), 0.04, silent=("away",)),
    "ahead": Scale((-0.14, 0.14), ("behind", "level", "ahead"), 0.05, silent=("level",)),
    "higher": Scale((-0.13, 0.13), ("lower", "level", "higher"), 0.05, silent=("level",)),
    "crossed": Scale((-0.03,), ("crossed", "apart"), 0.04, silent=("apart",)),
    # Metres above the lowest joint.
    "foot_ground": Scale((0.07,), ("ground", "air"), 0.03),
    "knee_ground": Scale((0.16,), ("ground", "air"), 0.03, silent=("air",)),
    "hand_ground": Scale((0.12,), ("ground", "air"), 0.03, silent=("air",)),
    "hips_ground": Scale((0.22,), ("ground", "air"), 0.04, silent=("air",)),
    # Degrees of the trunk from upright, and where to, from forward (0) to the left (90).
    "inclination": Scale((14, 35, 65, 115), ("upright", "leaning", "bent", "horizontal", "upside_down"), 6),
    "lean": Scale((-135, -45, 45, 135), ("backward", "right", "forward", "left", "backward"), 15, cyclic=True),
    # Degrees of the chest's direction from towards the camera (0) to the picture's right (90).
    "facing": Scale(
        (-157.5, -112.5, -67.5, -22.5, 22.5, 67.5, 112.5, 157.5),
        ("away", "away_left", "left", "toward_left", "toward", "toward_right", "right", "away_right", "away"),
        10, cyclic=True,
    ),
    # Degrees of the chest's direction above the horizontal.
    "chest": Scale((-50, 50), ("down", "level", "up"), 8, silent=("level",)),
    # Degrees of the shoulders about the trunk, from the hips, positive to the left.
    "twist": Scale((-15, 15), ("right", "straight", "left"), 5, silent=("straight",)),
    "nod": Scale((-14, 30), ("back", "straight", "bowed"), 6),
    "tilt": Scale((-15, 15), ("right", "straight", "left"), 5, silent=("straight",)),
    # Cut by the rules of ``postures.py`` instead of edges.
    "posture": Scale(
        (), ("standing", "bending", "squatting", "sitting", "kneeling", "all_fours", "lying", "upside_down", "other"),
        0, silent=("other",),
    ),
}  # fmt: skip
"""Kind -> scale."""


@dataclass(frozen=True)
class Fact:
    """One thing that can be said of a pose."""

    stem: str
    scale_name: str
    part: str
    """One of ``PARTS``."""
    side: str | None = None
    unless: tuple[str, tuple[str, ...]] | None = field(default=None)
    """(stem, categories): with one of them this fact has no meaning, such as a vertical limb's compass direction."""

    @property
    def name(self) -> str:
        return f"{self.side}_{self.stem}" if self.side else self.stem

    @property
    def scale(self) -> Scale:
        return SCALES[self.scale_name]


_VERTICAL = ("down", "up")
TOUCHED: dict[str, tuple[str, bool]] = {
    "touch_head": ("head", False), "touch_hip": ("hip", False), "touch_knee": ("knee", False),
    "touch_foot": ("foot", False), "touch_hand": ("hand", True), "touch_elbow": ("elbow", True),
    "touch_shoulder": ("shoulder", True), "touch_other_hip": ("hip", True), "touch_other_knee": ("knee", True),
    "touch_other_foot": ("foot", True),
}  # fmt: skip
"""Stem -> (the joint that a hand may touch, whether it is the other side's)."""

_ARM: tuple[tuple[str, str, tuple[str, tuple[str, ...]] | None], ...] = (
    ("upper_arm", "pitch", None), ("upper_arm_way", "way", ("upper_arm", _VERTICAL)), ("elbow", "bend", None),
    ("forearm", "pitch", None), ("forearm_way", "way", ("forearm", _VERTICAL)), ("hand_height", "height", None),
    ("hand_depth", "depth", None), ("hand_side", "side", None), ("hands_spread", "spread", None),
    ("hand_ground", "hand_ground", None),
    *((stem, "touch_head" if stem == "touch_head" else "touch", None) for stem in TOUCHED),
)  # fmt: skip
_LEG: tuple[tuple[str, str, tuple[str, tuple[str, ...]] | None], ...] = (
    ("thigh", "pitch", None), ("thigh_way", "way", ("thigh", _VERTICAL)), ("knee", "bend", None),
    ("shin", "pitch", None), ("feet_spread", "spread", None), ("foot_ahead", "ahead", None),
    ("foot_higher", "higher", None), ("legs_crossed", "crossed", None), ("foot_ground", "foot_ground", None),
    ("knee_ground", "knee_ground", None),
)  # fmt: skip

FACTS: tuple[Fact, ...] = (
    Fact("posture", "posture", "torso"),
    Fact("inclination", "inclination", "torso"),
    Fact("lean", "lean", "torso", unless=("inclination", ("upright", "upside_down"))),
    Fact("facing", "facing", "torso", unless=("chest", ("down", "up"))),
    Fact("chest", "chest", "torso"),
    Fact("twist", "twist", "torso"),
    Fact("hips_ground", "hips_ground", "torso"),
    Fact("nod", "nod", "head"),
    Fact("tilt", "tilt", "head"),
    *(
        Fact(stem, scale, f"{side}_{part}", side, unless)
        for part, table in (("arm", _ARM), ("leg", _LEG))
        for side in SIDES
        for stem, scale, unless in table
    ),
)
NAMES: tuple[str, ...] = tuple(fact.name for fact in FACTS)
BY_NAME: dict[str, Fact] = {fact.name: fact for fact in FACTS}
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
MOST = max(len(fact.scale.names) for fact in FACTS)
"""Categories of the fact that has most."""


def mirrored(name: str, category: str) -> tuple[str, str]:
    """The same code of the mirrored pose."""
    # Of a sided fact the side alone changes: 'right_angle' is an angle.
    return (_exchanged(name), category) if BY_NAME[name].side else (name, _exchanged(category))


def _exchanged(text: str) -> str:
    # Word by word: 'upright' has no side.
    return "_".join({"left": "right", "right": "left"}.get(word, word) for word in text.split("_"))
