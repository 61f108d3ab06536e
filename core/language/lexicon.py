"""The words for every fact: how each is called, and how each category of it is said, in several wordings.

A clause is a noun and a predicate: "the left elbow" + "is bent at a right angle". ``{s}`` ends a verb in the
singular, ``{is}`` is "is" or "are", ``{side}`` and ``{other}`` are left and right. Wordings of one row are alternatives;
the last ``HELD_OUT`` of each row are never trained on. No clause may hold what clauses are joined by (a comma, a colon,
"and", "while"), and no two facts may share one: ``tests/core/language/test_lexicon.py``.
"""

from dataclasses import dataclass

HELD_OUT = 2
"""Wordings of each row that only unseen captions use."""


@dataclass(frozen=True)
class Words:
    """How facts of one stem are told."""

    nouns: tuple[str, ...]
    predicates: dict[str, tuple[str, ...]]
    """Category -> wordings; silent categories have none."""
    both: tuple[str, ...] = ()
    """What the two sides are called together; empty where they can't be."""


_BEND = {
    "straight": ("{is} straight", "{is} fully extended", "stay{s} unbent", "{is} stretched out",
                 "{is} completely straightened", "show{s} no bend"),
    "slightly_bent": ("{is} slightly bent", "{is} bent a little", "{is} a bit flexed", "{is} almost straight",
                      "{has} a slight bend", "{is} bent only lightly"),
    "half_bent": ("{is} half bent", "{is} partially bent", "{is} moderately flexed", "{is} bent halfway",
                  "{has} a medium bend", "{is} bent to some degree"),
    "right_angle": ("{is} bent at a right angle", "{is} bent by ninety degrees", "form{s} an L shape",
                    "{is} bent at about 90 degrees", "make{s} a square corner", "{is} flexed to a right angle"),
    "fully_bent": ("{is} fully bent", "{is} bent sharply", "{is} completely folded", "{is} tightly flexed",
                   "{is} bent as far as possible", "{is} folded up tight"),
}  # fmt: skip
_PITCH = {
    "down": ("point{s} straight down", "hang{s} vertically", "{is} directed right down", "{is} vertical pointing down",
             "drop{s} straight downward", "hang{s} right down"),
    "low": ("slant{s} downward", "point{s} down at an angle", "{is} lowered diagonally", "slope{s} down",
            "{is} angled toward the floor", "incline{s} downward"),
    "level": ("{is} horizontal", "{is} level", "{is} held horizontally", "lie{s} parallel to the ground",
              "{is} kept flat", "extend{s} in the horizontal"),
    "raised": ("slant{s} upward", "point{s} up at an angle", "{is} raised diagonally", "slope{s} up",
               "{is} angled toward the ceiling", "incline{s} upward"),
    "up": ("point{s} straight up", "{is} raised vertically", "{is} directed right up", "{is} vertical pointing up",
           "rise{s} straight upward", "{is} lifted right up"),
}  # fmt: skip
_WAY = {
    "forward": ("to the front", "forward", "ahead", "frontward", "in the forward direction", "towards the front"),
    "diagonal": ("diagonally to the front", "half forward half sideways", "diagonally forward",
                 "forward at an outward slant", "obliquely forward", "partly forward partly sideways"),
    "outward": ("to the side", "sideways", "outward", "laterally", "out sideways", "away from the midline"),
    "back": ("to the back", "backward", "to the rear", "rearward", "in the backward direction", "towards the rear"),
    "across": ("inward across the body", "to the opposite side", "across the front", "inward",
               "to the far side of the body", "over the midline"),
}  # fmt: skip
_GOES = ("reach{es}", "go{es}", "{is} directed", "{is} aimed", "lead{s}", "extend{s}")
_GOING = {
    category: tuple(f"{verb} {way}" for verb, way in zip(_GOES, row, strict=True))
    for category, row in _WAY.items()
}
_SPREAD = {
    "close": ("{is} close to", "{is} right next to", "stay{s} near", "{is} just beside", "nearly meet{s}", "{is} adjacent to"),
    "apart": ("{is} shoulder width from", "{is} some way from", "keep{s} a small distance from",
              "{is} at a medium distance from", "stand{s} off a little from", "{is} moderately far from"),
    "wide": ("{is} far from", "{is} spread wide from", "keep{s} a large distance from", "{is} well away from",
             "{is} widely separated from", "{is} a long way from"),
    "very_wide": ("{is} as far as possible from", "{is} spread very wide from", "{is} extremely far from",
                  "{is} at full span from", "{is} at the greatest distance from", "{is} stretched far away from"),
}  # fmt: skip
_TOUCHES = ("touch{es}", "{is} at", "rest{s} on", "hold{s}", "{is} placed on", "{is} in contact with")
_GROUND = ("{is} on the ground", "touch{es} the ground", "rest{s} on the floor", "{is} down on the floor",
           "make{s} contact with the ground", "press{es} against the floor")  # fmt: skip
_AIR = ("{is} off the ground", "{is} in the air", "{is} lifted from the floor", "do{es} not touch the ground",
        "hover{s} above the floor", "{is} clear of the ground")  # fmt: skip


def _spread(what: str) -> dict[str, tuple[str, ...]]:
    return {category: tuple(f"{word} the other {what}" for word in row) for category, row in _SPREAD.items()}


def _touching(what: str) -> dict[str, tuple[str, ...]]:
    return {"near": tuple(f"{verb} {what}" for verb in _TOUCHES)}


def _sided(*names: str) -> tuple[str, ...]:
    return tuple(f"the {{side}} {name}" for name in names)


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"both {name}" for name in names)


_HAND, _HANDS = (
    _sided("hand", "palm", "arm's hand", "fist", "hand itself", "hand's palm"),
    _both("hands", "palms", "arms' hands", "fists", "hands themselves", "hands' palms"),
)
_UPPER_ARM, _UPPER_ARMS = (
    _sided("upper arm", "arm above the elbow", "arm from the shoulder", "upper part of the arm",
           "arm's upper half", "humerus"),
    _both("upper arms", "arms above the elbow", "arms from the shoulder", "upper parts of the arms",
          "arms' upper halves", "humeri"),
)  # fmt: skip
_FOREARM, _FOREARMS = (
    _sided("forearm", "lower arm", "arm below the elbow", "lower part of the arm", "arm's lower half",
           "arm beyond the elbow"),
    _both("forearms", "lower arms", "arms below the elbow", "lower parts of the arms", "arms' lower halves",
          "arms beyond the elbow"),
)  # fmt: skip
_THIGH, _THIGHS = (
    _sided("thigh", "upper leg", "leg above the knee", "leg from the hip", "leg's upper half", "femur"),
    _both("thighs", "upper legs", "legs above the knee", "legs from the hip", "legs' upper halves", "femurs"),
)
_SHIN, _SHINS = (
    _sided("shin", "lower leg", "calf", "leg below the knee", "leg's lower half", "shank"),
    _both("shins", "lower legs", "calves", "legs below the knee", "legs' lower halves", "shanks"),
)
_FOOT, _FEET = (
    _sided("foot", "sole", "leg's foot", "ankle", "foot itself", "foot's sole"),
    _both("feet", "soles", "legs' feet", "ankles", "feet themselves", "feet's soles"),
)
_PERSON = ("the person", "the body", "someone", "the figure", "the subject", "this individual")
_TORSO = ("the torso", "the trunk", "the upper body", "the back", "the spine", "the body's core")
_HEAD = ("the head", "the person's head", "the face", "the neck", "the skull", "the head itself")

WORDS: dict[str, Words] = {
    "posture": Words(_PERSON, {
        "standing": ("{is} standing", "stands", "{is} on their feet", "{is} in a standing pose", "{is} stood up",
                     "{is} upright on the legs"),
        "bending": ("{is} bending over", "bends over from the hips", "{is} bent over on their feet",
                    "stoops", "{is} doubled over", "bows low on straight legs"),
        "squatting": ("{is} squatting", "squats", "{is} crouching", "{is} in a deep knee bend", "crouches low",
                      "{is} hunkered down"),
        "sitting": ("{is} sitting", "sits", "{is} seated", "{is} in a sitting pose", "has sat down", "takes a seat"),
        "kneeling": ("{is} kneeling", "kneels", "{is} on their knees", "{is} in a kneeling pose", "has knelt down",
                     "{is} down on the knees"),
        "all_fours": ("{is} on all fours", "{is} crawling", "{is} on hands with knees down", "{is} in a crawling pose",
                      "crawls on the floor", "supports themselves on hands plus knees"),
        "lying": ("{is} lying down", "lies on the ground", "{is} flat on the floor", "{is} in a lying pose",
                  "reclines on the floor", "{is} stretched out on the ground"),
        "upside_down": ("{is} upside down", "{is} inverted", "{is} head over heels", "{is} turned on their head",
                        "{is} flipped over", "has the head at the bottom"),
    }),
    "inclination": Words(_TORSO, {
        "upright": ("{is} upright", "{is} straight up", "{is} vertical", "{is} erect", "{is} held plumb", "stands tall"),
        "leaning": ("leans a little", "{is} slightly inclined", "tilts slightly", "{is} leaning", "tips gently",
                    "{is} off vertical by a little"),
        "bent": ("{is} bent far over", "leans strongly", "{is} strongly inclined", "{is} tilted a lot", "tips heavily",
                 "{is} at a steep lean"),
        "horizontal": ("{is} nearly horizontal", "{is} level with the ground", "lies flat", "{is} parallel to the floor",
                       "{is} in the horizontal", "{is} laid level"),
        "upside_down": ("hangs upside down", "{is} inverted", "points head first to the ground", "{is} turned over",
                        "{is} reversed with the head lowest", "{is} flipped"),
    }),
    "lean": Words(("the torso", "the trunk", "the upper body", "the weight of the torso", "the spine", "the body's core"), {
        "forward": ("inclines forward", "bends to the front", "tends forward", "goes forward", "tips to the front",
                    "tilts frontward"),
        "backward": ("inclines backward", "bends to the back", "tends backward", "goes backward", "tips to the rear",
                     "tilts rearward"),
        "left": ("inclines to the left", "bends to the left", "tends to the left", "goes left", "tips leftward",
                 "tilts to the left-hand side"),
        "right": ("inclines to the right", "bends to the right", "tends to the right", "goes right", "tips rightward",
                  "tilts to the right-hand side"),
    }),
    "facing": Words(("the person", "the chest", "the body", "the front of the body", "the subject", "the breast"), {
        "toward": ("faces the camera", "{is} turned to the camera", "{is} facing the viewer", "looks at the camera",
                   "fronts the lens", "{is} seen from the front"),
        "toward_left": ("faces the camera half turned to picture left", "{is} turned to front left of the picture",
                        "{is} facing the viewer but angled to picture left", "looks left past the camera",
                        "fronts the lens at an angle to picture left", "{is} seen from the front turning to image left"),
        "left": ("faces picture left", "{is} turned to the left of the picture", "{is} facing left in the picture",
                 "looks to picture left", "fronts the left edge of the image", "{is} seen from the side looking image left"),
        "away_left": ("faces away half turned to picture left", "{is} turned to back left of the picture",
                      "{is} facing away but angled to picture left", "looks left with the back to the camera",
                      "turns the back at an angle to picture left", "{is} seen from behind turning to image left"),
        "away": ("faces away from the camera", "{is} turned away from the camera", "{is} facing away from the viewer",
                 "looks away from the camera", "turns the back to the lens", "{is} seen from behind"),
        "away_right": ("faces away half turned to picture right", "{is} turned to back right of the picture",
                       "{is} facing away but angled to picture right", "looks right with the back to the camera",
                       "turns the back at an angle to picture right", "{is} seen from behind turning to image right"),
        "right": ("faces picture right", "{is} turned to the right of the picture", "{is} facing right in the picture",
                  "looks to picture right", "fronts the right edge of the image",
                  "{is} seen from the side looking image right"),
        "toward_right": ("faces the camera half turned to picture right", "{is} turned to front right of the picture",
                         "{is} facing the viewer but angled to picture right", "looks right past the camera",
                         "fronts the lens at an angle to picture right",
                         "{is} seen from the front turning to image right"),
    }),
    "chest": Words(("the chest", "the belly", "the front of the torso", "the front side", "the breast", "the stomach"), {
        "up": ("faces the sky", "faces up", "{is} turned to the ceiling", "looks upward", "{is} uppermost",
               "{is} directed at the ceiling"),
        "down": ("faces the ground", "faces down", "{is} turned to the floor", "looks downward", "{is} undermost",
                 "{is} directed at the floor"),
    }),
    "twist": Words(("the shoulders", "the chest", "the ribcage", "the upper body", "the thorax", "the shoulder line"), {
        "left": ("{are} twisted to the left", "{are} turned left against the hips", "rotate{s} left over the pelvis",
                 "{are} twisted leftward", "swivel{s} left of the hips", "{are} wound to the left-hand side"),
        "right": ("{are} twisted to the right", "{are} turned right against the hips", "rotate{s} right over the pelvis",
                  "{are} twisted rightward", "swivel{s} right of the hips", "{are} wound to the right-hand side"),
    }),
    "hips_ground": Words(("the hips", "the buttocks", "the seat", "the pelvis", "the bottom", "the rear"), {
        "ground": tuple(word.replace("{is}", "{are}") for word in _GROUND),
    }),
    "nod": Words(_HEAD, {
        "back": ("{is} tilted back", "leans back", "{is} thrown back", "{is} bent backward", "tips to the back",
                 "{is} raised to look up"),
        "straight": ("{is} held straight", "{is} in line with the spine", "{is} level", "{is} neither bowed nor raised",
                     "stays neutral", "{is} carried straight"),
        "bowed": ("{is} bowed", "{is} bent forward", "hangs forward", "{is} lowered", "tips to the front",
                  "{is} dropped to look down"),
    }),
    "tilt": Words(_HEAD, {
        "left": ("{is} tilted to the left", "leans left", "{is} inclined to the left shoulder", "{is} bent to the left",
                 "tips leftward", "{is} cocked to the left-hand side"),
        "right": ("{is} tilted to the right", "leans right", "{is} inclined to the right shoulder", "{is} bent to the right",
                  "tips rightward", "{is} cocked to the right-hand side"),
    }),
    "upper_arm": Words(_UPPER_ARM, _PITCH, _UPPER_ARMS),
    "upper_arm_way": Words(_UPPER_ARM, _GOING, _UPPER_ARMS),
    "elbow": Words(
        _sided("elbow", "arm at the elbow", "elbow joint", "arm", "arm's joint", "arm as a whole"), _BEND,
        _both("elbows", "arms at the elbow", "elbow joints", "arms", "arms' joints", "arms as a whole"),
    ),
    "forearm": Words(_FOREARM, _PITCH, _FOREARMS),
    "forearm_way": Words(_FOREARM, _GOING, _FOREARMS),
    "hand_height": Words(_HAND, {
        "below_hips": ("{is} below the hips", "hang{s} lower than the hips", "{is} at thigh height", "{is} down by the thigh",
                       "dangle{s} under hip level", "{is} beneath the waistline"),
        "hips": ("{is} at hip height", "{is} level with the hips", "{is} about waist high", "{is} by the waist",
                 "stay{s} at hip level", "{is} around the waistline"),
        "chest": ("{is} at chest height", "{is} level with the chest", "{is} about chest high", "{is} by the ribs",
                  "stay{s} at chest level", "{is} around the sternum"),
        "shoulders": ("{is} at shoulder height", "{is} level with the shoulders", "{is} about shoulder high",
                      "{is} as high as the collarbone", "stay{s} at shoulder level", "{is} around the throat"),
        "head": ("{is} at head height", "{is} level with the head", "{is} about head high", "{is} as high as the face",
                 "stay{s} at head level", "{is} around eye level"),
        "above_head": ("{is} above the head", "{is} higher than the head", "{is} overhead", "{is} raised over the head",
                       "tower{s} over the skull", "{is} up past the top of the head"),
    }, _HANDS),
    "hand_depth": Words(_HAND, {
        "behind": ("{is} behind the back", "{is} behind the body", "{is} at the back of the body", "{is} to the rear of the torso",
                   "lie{s} behind the trunk", "{is} rearward of the body"),
        "beside": ("{is} in the plane of the body", "{is} neither in front nor behind", "{is} level with the body's plane",
                   "{is} just alongside the body", "lie{s} within the frontal plane", "{is} flush with the torso"),
        "in_front": ("{is} in front of the body", "{is} a little ahead of the body", "{is} before the torso",
                     "{is} some way in front", "lie{s} forward of the trunk", "{is} frontward of the body"),
        "far_in_front": ("{is} far in front of the body", "{is} well ahead of the body", "{is} stretched out in front",
                         "{is} a long way in front", "lie{s} far forward of the trunk", "{is} far frontward of the body"),
    }, _HANDS),
    "hand_side": Words(_HAND, {
        "across": ("{is} past the middle of the body", "{is} over on the other side", "cross{es} the midline",
                   "{is} beyond the body's centre", "pass{es} over the centre line", "{is} on the opposite half"),
        "middle": ("{is} at the middle of the body", "{is} near the midline", "{is} in the centre", "{is} central",
                   "lie{s} on the centre line", "{is} around the body's axis"),
        "own_side": ("{is} on its own side", "{is} close to its side of the body", "{is} by the side", "{is} next to its flank",
                     "lie{s} over the hip line", "{is} within the body's width"),
        "out": ("{is} out to the side", "{is} away from the side", "{is} held out sideways", "{is} off to its side",
                "lie{s} outside the body", "{is} laterally away"),
        "far_out": ("{is} far out to the side", "{is} far away from the side", "{is} stretched out sideways",
                    "{is} a long way off to its side", "lie{s} far outside the body", "{is} laterally far away"),
    }, _HANDS),
    "hands_spread": Words(_HAND, _spread("hand"), _HANDS),
    "hand_ground": Words(_HAND, {"ground": _GROUND}, _HANDS),
    "touch_head": Words(_HAND, _touching("the head"), _HANDS),
    "touch_hip": Words(_HAND, _touching("the {side} hip")),
    "touch_knee": Words(_HAND, _touching("the {side} knee")),
    "touch_foot": Words(_HAND, _touching("the {side} foot")),
    "touch_hand": Words(_HAND, _touching("the {other} hand")),
    "touch_elbow": Words(_HAND, _touching("the {other} elbow")),
    "touch_shoulder": Words(_HAND, _touching("the {other} shoulder")),
    "touch_other_hip": Words(_HAND, _touching("the {other} hip")),
    "touch_other_knee": Words(_HAND, _touching("the {other} knee")),
    "touch_other_foot": Words(_HAND, _touching("the {other} foot")),
    "thigh": Words(_THIGH, _PITCH, _THIGHS),
    "thigh_way": Words(_THIGH, _GOING, _THIGHS),
    "knee": Words(
        _sided("knee", "leg at the knee", "knee joint", "leg", "leg's joint", "leg as a whole"), _BEND,
        _both("knees", "legs at the knee", "knee joints", "legs", "legs' joints", "legs as a whole"),
    ),
    "shin": Words(_SHIN, _PITCH, _SHINS),
    "feet_spread": Words(_FOOT, _spread("foot"), _FEET),
    "foot_ahead": Words(_FOOT, {
        "ahead": ("{is} ahead of the other foot", "{is} in front of the other foot", "{is} before the other foot",
                  "{is} further forward than the other", "lead{s} the other foot", "{is} put forward of its partner"),
        "behind": ("{is} behind the other foot", "{is} in back of the other foot", "{is} after the other foot",
                   "{is} further back than the other", "trail{s} the other foot", "{is} put backward of its partner"),
    }),
    "foot_higher": Words(_FOOT, {
        "higher": ("{is} higher than the other foot", "{is} above the other foot", "{is} raised over the other foot",
                   "{is} further up than the other", "top{s} the other foot", "{is} put up above its partner"),
        "lower": ("{is} lower than the other foot", "{is} below the other foot", "{is} under the other foot",
                  "{is} further down than the other", "stay{s} beneath the other foot", "{is} put down below its partner"),
    }),
    "legs_crossed": Words(_sided("leg", "foot", "shin", "lower leg", "shank", "ankle"), {
        "crossed": ("{is} crossed over the other leg", "cross{es} the other leg", "{is} crossed past the other leg",
                    "go{es} across the other leg", "pass{es} over to the other leg's side", "intersect{s} its partner"),
    }, _both("legs", "feet", "shins", "lower legs", "shanks", "ankles")),
    "foot_ground": Words(_FOOT, {"ground": _GROUND, "air": _AIR}, _FEET),
    "knee_ground": Words(
        _sided("knee", "kneecap", "bent knee", "knee joint", "knee itself", "leg's knee"), {"ground": _GROUND},
        _both("knees", "kneecaps", "bent knees", "knee joints", "knees themselves", "legs' knees"),
    ),
}  # fmt: skip
"""Stem -> its words."""

WORDINGS = 6
"""Alternatives of each row."""
_ONE = {"is": "is", "are": "are", "s": "s", "es": "es", "has": "has"}
_MANY = {"is": "are", "are": "are", "s": "", "es": "", "has": "have"}


def clause(stem: str, category: str, side: str | None, noun: int, wording: int) -> str:
    """The clause that says it, for the side ("both" for the two together), in these alternatives."""
    words = WORDS[stem]
    nouns = words.both if side == "both" else words.nouns
    other = {"left": "right", "right": "left"}.get(side or "", "")
    many = side == "both" or nouns[noun].endswith(("shoulders", "hips", "buttocks"))
    forms = (_MANY if many else _ONE) | {"side": side or "", "other": other}
    if not many:
        forms["are"] = "is"
    return f"{nouns[noun]} {words.predicates[category][wording]}".format_map(forms)
