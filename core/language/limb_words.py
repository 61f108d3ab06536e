"""Wordings that several facts share, and what limbs are called: rows of ``lexicon.WORDS``, with its placeholders."""

BEND = {
    "straight": ("{is} straight", "{is} fully extended", "stay{s} unbent", "{is} stretched out",
                 "{is} completely straightened", "show{s} no bend", "{is} held straight out",
                     "{is} not bent at all", "{is} locked straight", "{has} no angle"),
    "slightly_bent": ("{is} slightly bent", "{is} bent a little", "{is} a bit flexed", "{is} almost straight",
                      "{has} a slight bend", "{is} bent only lightly", "{is} slightly flexed",
                          "{is} gently curved", "show{s} a small bend", "{is} nearly straight"),
    "half_bent": ("{is} half bent", "{is} partially bent", "{is} moderately flexed", "{is} bent halfway",
                  "{has} a medium bend", "{is} bent to some degree", "{is} fairly bent",
                      "{is} bent partway", "show{s} a moderate bend", "{is} flexed about halfway"),
    "right_angle": ("{is} bent at a right angle", "{is} bent by ninety degrees", "form{s} an l shape",
                    "{is} bent at about 90 degrees", "make{s} a square corner",
                        "{is} flexed to a right angle", "{has} a ninety degree bend", "{is} bent squarely",
                            "show{s} a right angle", "{is} flexed by 90 degrees"),
    "fully_bent": ("{is} fully bent", "{is} bent sharply", "{is} completely folded", "{is} tightly flexed",
                   "{is} bent as far as possible", "{is} folded up tight", "{is} strongly bent",
                       "{is} deeply flexed", "show{s} an acute bend", "{is} fully flexed"),
}  # fmt: skip
PITCH = {
    "down": ("point{s} straight down", "hang{s} vertically", "{is} directed right down",
        "{is} vertical pointing down",
             "drop{s} straight downward", "hang{s} right down", "{is} fully lowered",
                 "hang{s} straight to the floor", "{is} aligned downward", "dangle{s} vertically"),
    "low": ("slant{s} downward", "point{s} down at an angle", "{is} lowered diagonally", "slope{s} down",
            "{is} angled toward the floor", "incline{s} downward", "{is} partly lowered",
                "go{es} down on a slant", "{is} tilted down", "descend{s} at an angle"),
    "level": ("{is} horizontal", "{is} level", "{is} held horizontally", "lie{s} parallel to the ground",
              "{is} kept flat", "extend{s} in the horizontal", "{is} horizontally placed", "run{s} level",
                  "{is} at a flat angle", "stay{s} horizontal"),
    "raised": ("slant{s} upward", "point{s} up at an angle", "{is} raised diagonally", "slope{s} up",
               "{is} angled toward the ceiling", "incline{s} upward", "{is} partly raised",
                   "go{es} up on a slant", "{is} tilted up", "climb{s} at an angle"),
    "up": ("point{s} straight up", "{is} raised vertically", "{is} directed right up",
        "{is} vertical pointing up",
           "rise{s} straight upward", "{is} lifted right up", "{is} fully raised",
               "reach{es} straight to the sky", "{is} aligned upward", "stand{s} vertically on end"),
}  # fmt: skip
WAY = {
    "forward": ("to the front", "forward", "ahead", "frontward", "in the forward direction",
        "towards the front", "frontally", "to the fore", "in front", "straight forward"),
    "diagonal": ("diagonally to the front", "half forward half sideways", "diagonally forward",
                 "forward at an outward slant", "obliquely forward", "partly forward partly sideways",
                 "forward yet outward", "at a diagonal to the front", "front to side diagonally",
                 "slantwise forward"),
    "outward": ("to the side", "sideways", "outward", "laterally", "out sideways", "away from the midline",
        "out to its side", "to the outside", "in the lateral direction", "off sideways"),
    "back": ("to the back", "backward", "to the rear", "rearward", "in the backward direction",
        "towards the rear", "behind", "aft", "in the rear direction", "straight backward"),
    "across": ("inward across the body", "to the opposite side", "across the front", "inward",
               "to the far side of the body", "over the midline", "across to the opposite side",
               "crosswise", "inward past the middle", "to the inner side"),
}  # fmt: skip
GOES = (
    "reach{es}",
    "go{es}",
    "{is} directed",
    "{is} aimed",
    "lead{s}",
    "extend{s}",
    "point{s} away",
    "{is} turned",
    "head{s}",
    "stretch{es}",
)
GOING = {
    category: tuple(f"{verb} {way}" for verb, way in zip(GOES, row, strict=True))
    for category, row in WAY.items()
}
SPREAD = {
    "close": ("{is} close to", "{is} right next to", "stay{s} near", "{is} just beside", "nearly meet{s}",
        "{is} adjacent to", "{is} very near", "{is} closely beside", "stay{s} close by",
            "{is} a hand's width from"),
    "apart": ("{is} shoulder width from", "{is} some way from", "keep{s} a small distance from",
              "{is} at a medium distance from", "stand{s} off a little from", "{is} moderately far from",
                  "{is} a short way from", "{is} at shoulder distance from", "keep{s} some room from",
                      "{is} not far from"),
    "wide": ("{is} far from", "{is} spread wide from", "keep{s} a large distance from", "{is} well away from",
             "{is} widely separated from", "{is} a long way from", "{is} far apart from",
                 "{is} wide away from", "stay{s} distant from", "{is} set widely from"),
    "very_wide": ("{is} as far as possible from", "{is} spread very wide from", "{is} extremely far from",
                  "{is} at full span from", "{is} at the greatest distance from",
                      "{is} stretched far away from", "{is} very far away from",
                          "{is} at maximum distance from", "stay{s} extremely distant from",
                              "{is} fully spread from"),
}  # fmt: skip
TOUCHES = (
    "touch{es}",
    "{is} at",
    "rest{s} on",
    "hold{s}",
    "{is} placed on",
    "{is} in contact with",
    "lie{s} on",
    "{is} pressed to",
    "reach{es} all the way to",
    "grasp{s}",
)
GROUND = ("{is} on the ground", "touch{es} the ground", "rest{s} on the floor", "{is} down on the floor",
           "make{s} contact with the ground", "press{es} against the floor", "{is} placed on the ground",
               "meet{s} the floor", "{is} set on the floor", "{is} touching the ground")  # fmt: skip
AIR = ("{is} off the ground", "{is} in the air", "{is} lifted from the floor", "do{es} not touch the ground",
        "hover{s} above the floor", "{is} clear of the ground", "{is} raised off the floor",
            "float{s} over the ground", "{is} up from the ground", "{is} not on the floor")  # fmt: skip


def spread(what: str) -> dict[str, tuple[str, ...]]:
    return {category: tuple(f"{word} the other {what}" for word in row) for category, row in SPREAD.items()}


def touching(what: str) -> dict[str, tuple[str, ...]]:
    return {"near": tuple(f"{verb} {what}" for verb in TOUCHES)}


def sided(*names: str) -> tuple[str, ...]:
    return tuple(f"the {{side}} {name}" for name in names)


def both(*names: str) -> tuple[str, ...]:
    return tuple(f"both {name}" for name in names)


HAND, HANDS = (
    sided(
        "hand",
        "palm",
        "arm's hand",
        "fist",
        "hand itself",
        "hand's palm",
        "wrist",
        "fingers' end",
        "open hand",
        "end of the arm",
    ),
    both(
        "hands",
        "palms",
        "arms' hands",
        "fists",
        "hands themselves",
        "hands' palms",
        "wrists",
        "fingers' ends",
        "open hands",
        "ends of the arms",
    ),
)
UPPER_ARM, UPPER_ARMS = (
    sided("upper arm", "arm above the elbow", "arm from the shoulder", "upper part of the arm",
           "arm's upper half", "humerus", "upper arm segment", "biceps", "arm over the elbow",
           "arm up to the elbow"),
    both("upper arms", "arms above the elbow", "arms from the shoulder", "upper parts of the arms",
          "arms' upper halves", "humeri", "upper arm segments", "biceps muscles", "arms over the elbow",
          "arms up to the elbow"),
)  # fmt: skip
FOREARM, FOREARMS = (
    sided("forearm", "lower arm", "arm below the elbow", "lower part of the arm", "arm's lower half",
           "arm beyond the elbow", "forearm segment", "arm under the elbow", "arm from elbow to wrist",
           "forearm itself"),
    both("forearms", "lower arms", "arms below the elbow", "lower parts of the arms", "arms' lower halves",
          "arms beyond the elbow", "forearm segments", "arms under the elbow", "arms from elbow to wrist",
          "forearms themselves"),
)  # fmt: skip
THIGH, THIGHS = (
    sided(
        "thigh",
        "upper leg",
        "leg above the knee",
        "leg from the hip",
        "leg's upper half",
        "femur",
        "thigh segment",
        "leg over the knee",
        "leg up to the knee",
        "thigh itself",
    ),
    both(
        "thighs",
        "upper legs",
        "legs above the knee",
        "legs from the hip",
        "legs' upper halves",
        "femurs",
        "thigh segments",
        "legs over the knee",
        "legs up to the knee",
        "thighs themselves",
    ),
)
SHIN, SHINS = (
    sided(
        "shin",
        "lower leg",
        "calf",
        "leg below the knee",
        "leg's lower half",
        "shank",
        "shin segment",
        "leg under the knee",
        "leg from knee to ankle",
        "shin itself",
    ),
    both(
        "shins",
        "lower legs",
        "calves",
        "legs below the knee",
        "legs' lower halves",
        "shanks",
        "shin segments",
        "legs under the knee",
        "legs from knee to ankle",
        "shins themselves",
    ),
)
FOOT, FEET = (
    sided(
        "foot",
        "sole",
        "leg's foot",
        "ankle",
        "foot itself",
        "foot's sole",
        "heel",
        "toes' end",
        "bare foot",
        "end of the leg",
    ),
    both(
        "feet",
        "soles",
        "legs' feet",
        "ankles",
        "feet themselves",
        "feet's soles",
        "heels",
        "toes' ends",
        "bare feet",
        "ends of the legs",
    ),
)
