"""The words for every fact: how each is called, and how each category of it is said, in several wordings.

A clause is a noun and a predicate: "the left elbow" + "is bent at a right angle". ``{s}`` ends a verb in the
singular, ``{is}`` is "is" or "are", ``{side}`` and ``{other}`` are left and right. Wordings of one row are
alternatives. ``HELD_OUT`` of each row, drawn by lot, are never trained on: ``WORDS`` has them last. No clause may hold
what clauses are joined by (a comma, a colon, "and", "while"), and no two facts may share one:
``tests/core/language/test_lexicon.py``.
"""

import hashlib
from dataclasses import dataclass

from alignhmr.core.language.limb_words import (
    AIR,
    BEND,
    FEET,
    FOOT,
    FOREARM,
    FOREARMS,
    GOING,
    GROUND,
    HAND,
    HANDS,
    PITCH,
    SHIN,
    SHINS,
    THIGH,
    THIGHS,
    UPPER_ARM,
    UPPER_ARMS,
    both,
    sided,
    spread,
    touching,
)

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


_PERSON = (
    "the person",
    "the body",
    "someone",
    "the figure",
    "the subject",
    "this individual",
    "the human",
    "he or she",
    "the figure shown",
    "the one pictured",
)
_TORSO = (
    "the torso",
    "the trunk",
    "the upper body",
    "the back",
    "the spine",
    "the body's core",
    "the whole torso",
    "the trunk of the body",
    "the backbone",
    "the body from the hips up",
)
_HEAD = (
    "the head",
    "the person's head",
    "the face",
    "the neck",
    "the skull",
    "the head itself",
    "the chin",
    "the gaze",
    "the forehead",
    "the head on its neck",
)

_TABLE: dict[str, Words] = {
    "posture": Words(_PERSON, {
        "standing": ("{is} standing", "stands", "{is} on their feet", "{is} in a standing pose",
            "{is} stood up",
                     "{is} upright on the legs", "{is} on both legs upright", "{is} standing up",
                         "keeps standing", "rises on the legs"),
        "bending": ("{is} bending over", "bends over from the hips", "{is} bent over on their feet",
                    "stoops", "{is} doubled over", "bows low on straight legs", "bends over at the waist",
                        "{is} stooped", "{is} folded at the hips", "leans over from standing"),
        "squatting": ("{is} squatting", "squats", "{is} crouching", "{is} in a deep knee bend", "crouches low",
                      "{is} hunkered down", "{is} in a squat", "{is} in a low crouch", "squats down",
                          "sinks into a crouch"),
        "sitting": ("{is} sitting", "sits", "{is} seated", "{is} in a sitting pose", "has sat down",
            "takes a seat", "{is} sitting down", "keeps seated", "{is} in a seated position", "sits there"),
        "kneeling": ("{is} kneeling", "kneels", "{is} on their knees", "{is} in a kneeling pose",
            "has knelt down",
                     "{is} down on the knees", "rests on the knees", "{is} kneeling down",
                         "{is} in a kneel", "kneels there"),
        "all_fours": ("{is} on all fours", "{is} crawling", "{is} on hands with knees down",
            "{is} in a crawling pose",
                      "crawls on the floor", "supports themselves on hands plus knees",
                      "{is} on hands plus knees", "goes on all fours", "{is} down on all fours",
                          "creeps on the floor"),
        "lying": ("{is} lying down", "lies on the ground", "{is} flat on the floor", "{is} in a lying pose",
                  "reclines on the floor", "{is} stretched out on the ground", "{is} lying on the floor",
                      "lies flat", "{is} lying flat out", "rests lying"),
        "upside_down": ("{is} upside down", "{is} inverted", "{is} head over heels",
            "{is} turned on their head",
                        "{is} flipped over", "has the head at the bottom",
                            "{is} standing on the hands or head", "hangs upside down there",
                                "{is} bottom up", "{is} upended"),
    }),
    "inclination": Words(_TORSO, {
        "upright": ("{is} upright", "{is} straight up", "{is} vertical", "{is} erect", "{is} held plumb",
            "stands tall", "{is} in an upright position", "stays vertical",
                "{is} perpendicular to the ground", "does not lean"),
        "leaning": ("leans a little", "{is} slightly inclined", "tilts slightly", "{is} leaning", "tips gently",
                    "{is} off vertical by a little", "has a slight lean", "{is} a bit tilted",
                        "inclines a little", "{is} leaning slightly"),
        "bent": ("{is} bent far over", "leans strongly", "{is} strongly inclined", "{is} tilted a lot",
            "tips heavily",
                 "{is} at a steep lean", "has a strong lean", "{is} deeply bent over", "inclines heavily",
                     "{is} bent over a long way"),
        "horizontal": ("{is} nearly horizontal", "{is} level with the ground", "lies flat",
            "{is} parallel to the floor",
                       "{is} in the horizontal", "{is} laid level", "has a horizontal position",
                           "{is} lying level", "extends horizontally", "{is} about horizontal"),
        "upside_down": ("hangs upside down", "{is} inverted", "points head first to the ground",
            "{is} turned over",
                        "{is} reversed with the head lowest", "{is} flipped", "{is} upside down",
                            "{is} turned bottom up", "has its top at the bottom", "{is} the wrong way up"),
    }),
    "lean": Words(("the torso", "the trunk", "the upper body", "the weight of the torso", "the spine",
        "the body's core", "the body",
                   "the trunk of the body", "the backbone", "the body from the hips up"), {
        "forward": ("inclines forward", "bends to the front", "tends forward", "goes forward",
            "tips to the front",
                    "tilts frontward", "leans to the front", "leans forward", "slopes forward",
                    "{is} inclined forward"),
        "backward": ("inclines backward", "bends to the back", "tends backward", "goes backward",
            "tips to the rear",
                     "tilts rearward", "leans to the back", "leans backward", "slopes backward",
                     "{is} inclined backward"),
        "left": ("inclines to the left", "bends to the left", "tends to the left", "goes left", "tips leftward",
                 "tilts to the left-hand side", "leans to the left", "leans left", "slopes leftward",
                 "{is} inclined to the left"),
        "right": ("inclines to the right", "bends to the right", "tends to the right", "goes right",
            "tips rightward",
                  "tilts to the right-hand side", "leans to the right", "leans right", "slopes rightward",
                  "{is} inclined to the right"),
    }),
    "facing": Words(("the person", "the chest", "the body", "the front of the body", "the subject",
        "the breast", "the figure", "the human",
                     "the torso's front", "the one pictured"), {
        "toward": ("faces the camera", "{is} turned to the camera", "{is} facing the viewer",
            "looks at the camera",
                   "fronts the lens", "{is} seen from the front", "points at the camera",
                       "{is} directed towards the camera", "confronts the viewer",
                           "shows the front to the camera"),
        "toward_left": ("faces the camera half turned to picture left",
            "{is} turned to front left of the picture",
                        "{is} facing the viewer but angled to picture left", "looks left past the camera",
                        "fronts the lens at an angle to picture left",
                        "{is} seen from the front turning to image left",
                            "points past the camera to picture left",
                            "{is} directed to front left in the image",
                                "shows the front partly to picture left",
                                "is mostly frontal but turned to picture left"),
        "left": ("faces picture left", "{is} turned to the left of the picture",
            "{is} facing left in the picture",
                 "looks to picture left", "fronts the left edge of the image",
                 "{is} seen from the side looking image left", "points to picture left",
                     "{is} directed at the left of the image", "shows a profile to picture left",
                         "{is} in profile to image left"),
        "away_left": ("faces away half turned to picture left", "{is} turned to back left of the picture",
                      "{is} facing away but angled to picture left", "looks left with the back to the camera",
                      "turns the back at an angle to picture left",
                      "{is} seen from behind turning to image left", "points away to picture left",
                          "{is} directed to back left in the image",
                              "shows the back partly with picture left ahead",
                              "is mostly seen from the back but turned to picture left"),
        "away": ("faces away from the camera", "{is} turned away from the camera",
            "{is} facing away from the viewer",
                 "looks away from the camera", "turns the back to the lens", "{is} seen from behind",
                     "points away from the camera", "{is} directed away from the camera",
                         "shows the back to the camera", "{is} facing backward to the viewer"),
        "away_right": ("faces away half turned to picture right", "{is} turned to back right of the picture",
                       "{is} facing away but angled to picture right",
                           "looks right with the back to the camera",
                       "turns the back at an angle to picture right",
                       "{is} seen from behind turning to image right", "points away to picture right",
                           "{is} directed to back right in the image",
                               "shows the back partly with picture right ahead",
                               "is mostly seen from the back but turned to picture right"),
        "right": ("faces picture right", "{is} turned to the right of the picture",
            "{is} facing right in the picture",
                  "looks to picture right", "fronts the right edge of the image",
                  "{is} seen from the side looking image right", "points to picture right",
                      "{is} directed at the right of the image", "shows a profile to picture right",
                          "{is} in profile to image right"),
        "toward_right": ("faces the camera half turned to picture right",
            "{is} turned to front right of the picture",
                         "{is} facing the viewer but angled to picture right", "looks right past the camera",
                         "fronts the lens at an angle to picture right",
                         "{is} seen from the front turning to image right",
                             "points past the camera to picture right",
                             "{is} directed to front right in the image",
                                 "shows the front partly to picture right",
                                 "is mostly frontal but turned to picture right"),
    }),
    "chest": Words(("the chest", "the belly", "the front of the torso", "the front side", "the breast",
        "the stomach", "the abdomen",
                    "the front of the trunk", "the torso's front", "the front of the body"), {
        "up": ("faces the sky", "faces up", "{is} turned to the ceiling", "looks upward", "{is} uppermost",
               "{is} directed at the ceiling", "points up to the sky", "{is} facing upward", "{is} on top",
                   "{is} toward the ceiling"),
        "down": ("faces the ground", "faces down", "{is} turned to the floor", "looks downward",
            "{is} undermost",
                 "{is} directed at the floor", "points down to the ground", "{is} facing downward",
                     "{is} underneath", "{is} toward the floor"),
    }),
    "twist": Words(("the shoulders", "the chest", "the ribcage", "the upper body", "the thorax",
        "the shoulder line", "the upper torso",
                    "the shoulder girdle", "the trunk above the hips", "the upper trunk"), {
        "left": ("{are} twisted to the left", "{are} turned left against the hips",
            "rotate{s} left over the pelvis",
                 "{are} twisted leftward", "swivel{s} left of the hips",
                     "{are} wound to the left-hand side", "{are} rotated to the left", "turn{s} leftward",
                         "{are} in a left twist", "{are} swung round to the left"),
        "right": ("{are} twisted to the right", "{are} turned right against the hips",
            "rotate{s} right over the pelvis",
                  "{are} twisted rightward", "swivel{s} right of the hips",
                      "{are} wound to the right-hand side", "{are} rotated to the right",
                          "turn{s} rightward", "{are} in a right twist", "{are} swung round to the right"),
    }),
    "hips_ground": Words(("the hips", "the buttocks", "the seat", "the pelvis", "the bottom", "the rear",
        "the backside", "the haunches", "the behind", "the hip region"), {
        "ground": tuple(word.replace("{is}", "{are}") for word in GROUND),
    }),
    "nod": Words(_HEAD, {
        "back": ("{is} tilted back", "leans back", "{is} thrown back", "{is} bent backward", "tips to the back",
                 "{is} raised to look up", "{is} leaned backward", "{is} lifted back",
                     "{is} inclined to the back", "looks up"),
        "straight": ("{is} held straight", "{is} in line with the spine", "{is} level",
            "{is} neither bowed nor raised",
                     "stays neutral", "{is} carried straight", "{is} straight", "{is} kept upright",
                         "{is} not tilted forward or back", "looks straight on"),
        "bowed": ("{is} bowed", "{is} bent forward", "hangs forward", "{is} lowered", "tips to the front",
                  "{is} dropped to look down", "{is} leaned forward", "{is} tilted forward",
                      "{is} inclined to the front", "looks down"),
    }),
    "tilt": Words(_HEAD, {
        "left": ("{is} tilted to the left", "leans left", "{is} inclined to the left shoulder",
            "{is} bent to the left",
                 "tips leftward", "{is} cocked to the left-hand side", "{is} leaned to the left",
                     "drops to the left", "{is} leaning to the left side", "{is} sideways to the left"),
        "right": ("{is} tilted to the right", "leans right", "{is} inclined to the right shoulder",
            "{is} bent to the right",
                  "tips rightward", "{is} cocked to the right-hand side", "{is} leaned to the right",
                      "drops to the right", "{is} leaning to the right side", "{is} sideways to the right"),
    }),
    "upper_arm": Words(UPPER_ARM, PITCH, UPPER_ARMS),
    "upper_arm_way": Words(UPPER_ARM, GOING, UPPER_ARMS),
    "elbow": Words(
        sided("elbow", "arm at the elbow", "elbow joint", "arm", "arm's joint", "arm as a whole",
            "whole arm", "arm about its elbow",
               "entire arm", "elbow itself"), BEND,
        both("elbows", "arms at the elbow", "elbow joints", "arms", "arms' joints", "arms as a whole",
            "whole arms", "arms about the elbow", "entire arms",
              "elbows themselves"),
    ),
    "forearm": Words(FOREARM, PITCH, FOREARMS),
    "forearm_way": Words(FOREARM, GOING, FOREARMS),
    "hand_height": Words(HAND, {
        "below_hips": ("{is} below the hips", "hang{s} lower than the hips", "{is} at thigh height",
            "{is} down by the thigh",
                       "dangle{s} under hip level", "{is} beneath the waistline",
                           "{is} lower than the waist", "reach{es} down past the hips",
                               "{is} under the hips", "{is} at the level of the thighs"),
        "hips": ("{is} at hip height", "{is} level with the hips", "{is} about waist high", "{is} by the waist",
                 "stay{s} at hip level", "{is} around the waistline", "{is} at waist height",
                     "{is} at the hips", "{is} as high as the hips", "{is} at the level of the waist"),
        "chest": ("{is} at chest height", "{is} level with the chest", "{is} about chest high",
            "{is} by the ribs",
                  "stay{s} at chest level", "{is} around the sternum", "{is} at breast height",
                      "{is} at the height of the chest", "{is} as high as the ribs",
                          "{is} at the level of the torso's middle"),
        "shoulders": ("{is} at shoulder height", "{is} level with the shoulders", "{is} about shoulder high",
                      "{is} as high as the collarbone", "stay{s} at shoulder level",
                          "{is} around the throat", "{is} at the height of the shoulders",
                              "{is} at the shoulders", "{is} as high as the shoulders",
                                  "{is} at the level of the neck"),
        "head": ("{is} at head height", "{is} level with the head", "{is} about head high",
            "{is} as high as the face",
                 "stay{s} at head level", "{is} around eye level", "{is} at face height",
                     "{is} at the height of the head", "{is} as high as the head",
                         "{is} at the level of the face"),
        "above_head": ("{is} above the head", "{is} higher than the head", "{is} overhead",
            "{is} raised over the head",
                       "tower{s} over the skull", "{is} up past the top of the head",
                           "{is} held over the head", "{is} at a height over the head",
                               "reach{es} above the head", "{is} high above the head"),
    }, HANDS),
    "hand_depth": Words(HAND, {
        "behind": ("{is} behind the back", "{is} behind the body", "{is} at the back of the body",
            "{is} to the rear of the torso",
                   "lie{s} behind the trunk", "{is} rearward of the body", "{is} behind the torso",
                       "{is} held behind the back", "{is} in back of the body", "stay{s} to the rear"),
        "beside": ("{is} in the plane of the body", "{is} neither in front nor behind",
            "{is} level with the body's plane",
                   "{is} just alongside the body", "lie{s} within the frontal plane",
                       "{is} flush with the torso", "{is} beside the body", "{is} close at the body",
                           "{is} in line with the body", "stay{s} next to the torso"),
        "in_front": ("{is} in front of the body", "{is} a little ahead of the body", "{is} before the torso",
                     "{is} some way in front", "lie{s} forward of the trunk", "{is} frontward of the body",
                         "{is} in front of the torso", "{is} held before the body",
                             "{is} to the front of the body", "stay{s} in front"),
        "far_in_front": ("{is} far in front of the body", "{is} well ahead of the body",
            "{is} stretched out in front",
                         "{is} a long way in front", "lie{s} far forward of the trunk",
                             "{is} far frontward of the body", "{is} far in front of the torso",
                                 "{is} held far ahead", "{is} far to the front of the body",
                                     "stay{s} well in front"),
    }, HANDS),
    "hand_side": Words(HAND, {
        "across": ("{is} past the middle of the body", "{is} over on the other side", "cross{es} the midline",
                   "{is} beyond the body's centre", "pass{es} over the centre line",
                       "{is} on the opposite half", "{is} across the body", "{is} past the midline",
                           "reach{es} over to the other half", "{is} on the far side of the middle"),
        "middle": ("{is} at the middle of the body", "{is} near the midline", "{is} in the centre",
            "{is} central",
                   "lie{s} on the centre line", "{is} around the body's axis", "{is} in the middle",
                       "{is} at the midline", "stay{s} central before the body",
                           "{is} at the centre of the body"),
        "own_side": ("{is} on its own side", "{is} close to its side of the body", "{is} by the side",
            "{is} next to its flank",
                     "lie{s} over the hip line", "{is} within the body's width", "{is} near its own side",
                         "{is} near the hip's side", "stay{s} close to its side", "{is} beside its own flank"),
        "out": ("{is} out to the side", "{is} away from the side", "{is} held out sideways",
            "{is} off to its side",
                "lie{s} outside the body", "{is} laterally away", "{is} to the side of the body",
                    "{is} some way out sideways", "stay{s} off the side", "{is} moved out to the side"),
        "far_out": ("{is} far out to the side", "{is} far away from the side", "{is} stretched out sideways",
                    "{is} a long way off to its side", "lie{s} far outside the body",
                        "{is} laterally far away", "{is} far to the side of the body",
                            "{is} a long way out sideways", "stay{s} far off the side",
                                "{is} moved far out to the side"),
    }, HANDS),
    "hands_spread": Words(HAND, spread("hand"), HANDS),
    "hand_ground": Words(HAND, {"ground": GROUND}, HANDS),
    "touch_head": Words(HAND, touching("the head"), HANDS),
    "touch_hip": Words(HAND, touching("the {side} hip")),
    "touch_knee": Words(HAND, touching("the {side} knee")),
    "touch_foot": Words(HAND, touching("the {side} foot")),
    "touch_hand": Words(HAND, touching("the {other} hand")),
    "touch_elbow": Words(HAND, touching("the {other} elbow")),
    "touch_shoulder": Words(HAND, touching("the {other} shoulder")),
    "touch_other_hip": Words(HAND, touching("the {other} hip")),
    "touch_other_knee": Words(HAND, touching("the {other} knee")),
    "touch_other_foot": Words(HAND, touching("the {other} foot")),
    "thigh": Words(THIGH, PITCH, THIGHS),
    "thigh_way": Words(THIGH, GOING, THIGHS),
    "knee": Words(
        sided("knee", "leg at the knee", "knee joint", "leg", "leg's joint", "leg as a whole", "whole leg",
            "leg about its knee", "entire leg",
               "knee itself"), BEND,
        both("knees", "legs at the knee", "knee joints", "legs", "legs' joints", "legs as a whole",
            "whole legs", "legs about the knee", "entire legs",
              "knees themselves"),
    ),
    "shin": Words(SHIN, PITCH, SHINS),
    "feet_spread": Words(FOOT, spread("foot"), FEET),
    "foot_ahead": Words(FOOT, {
        "ahead": ("{is} ahead of the other foot", "{is} in front of the other foot",
            "{is} before the other foot",
                  "{is} further forward than the other", "lead{s} the other foot",
                      "{is} put forward of its partner", "{is} the front one",
                          "{is} forward of the other foot", "step{s} ahead of the other",
                              "{is} placed before the other"),
        "behind": ("{is} behind the other foot", "{is} in back of the other foot", "{is} after the other foot",
                   "{is} further back than the other", "trail{s} the other foot",
                       "{is} put backward of its partner", "{is} the back one",
                           "{is} backward of the other foot", "stay{s} behind the other",
                               "{is} placed after the other"),
    }),
    "foot_higher": Words(FOOT, {
        "higher": ("{is} higher than the other foot", "{is} above the other foot",
            "{is} raised over the other foot",
                   "{is} further up than the other", "top{s} the other foot",
                       "{is} put up above its partner", "{is} the higher one", "{is} up above the other",
                           "rise{s} over the other", "{is} placed above the other"),
        "lower": ("{is} lower than the other foot", "{is} below the other foot", "{is} under the other foot",
                  "{is} further down than the other", "stay{s} beneath the other foot",
                      "{is} put down below its partner", "{is} the lower one", "{is} down below the other",
                          "sink{s} under the other", "{is} placed below the other"),
    }),
    "legs_crossed": Words(sided("leg", "foot", "shin", "lower leg", "shank", "ankle", "calf", "whole leg",
        "leg itself", "leg as a whole"), {
        "crossed": ("{is} crossed over the other leg", "cross{es} the other leg",
            "{is} crossed past the other leg",
                    "go{es} across the other leg", "pass{es} over to the other leg's side",
                        "intersect{s} its partner", "{is} crossed with the other",
                            "overlap{s} the other leg", "{is} across the other leg",
                                "{is} crossing to the other side"),
    }, both("legs", "feet", "shins", "lower legs", "shanks", "ankles", "calves", "whole legs",
        "legs themselves", "legs as a whole")),
    "foot_ground": Words(FOOT, {"ground": GROUND, "air": AIR}, FEET),
    "knee_ground": Words(
        sided("knee", "kneecap", "bent knee", "knee joint", "knee itself", "leg's knee", "knee of the leg",
            "front of the knee",
               "shin at the knee", "leg by its knee"), {"ground": GROUND},
        both("knees", "kneecaps", "bent knees", "knee joints", "knees themselves", "legs' knees",
            "knees of the legs",
              "fronts of the knees", "shins at the knee", "legs by the knee"),
    ),
}  # fmt: skip
WORDINGS = 10
"""Alternatives of each row."""


def _drawn(row: tuple[str, ...]) -> list[int]:
    """Order of a row's alternatives that puts the held-out ones last; the first is always trained on, and stays first.

    The lot is the words' own digest, so that a row that two stems share has the same ones held out, and so have left
    and right.
    """

    def lot(place: int) -> bytes:
        return hashlib.sha256(row[place].replace("right", "left").encode()).digest()

    order = sorted(range(1, len(row)), key=lot)
    return [0, *sorted(order[:-HELD_OUT]), *order[-HELD_OUT:]]


def _ordered(words: Words) -> Words:
    order = _drawn(words.nouns)
    return Words(
        tuple(words.nouns[place] for place in order),
        {category: tuple(row[place] for place in _drawn(row)) for category, row in words.predicates.items()},
        tuple(words.both[place] for place in order) if words.both else (),
    )


WORDS: dict[str, Words] = {stem: _ordered(words) for stem, words in _TABLE.items()}
"""Stem -> its words."""

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
