"""The patterns of ``paraphrases.py``: what a clause must hold for each category, and must not hold."""

from dataclasses import dataclass

_AT = r"\b(on|at|to|touch\w*|against|hold\w*|grip\w*|grasp\w*|resting on)\b.*"


@dataclass(frozen=True)
class Rule:
    stem: str
    category: str
    nouns: tuple[str, ...]
    """The rule is about these; empty for the whole person, whatever the noun."""
    pattern: str
    unless: str = r"$^"
    sided: bool = True


def _r(stem: str, category: str, nouns: tuple[str, ...], pattern: str, unless: str = r"$^") -> Rule:
    return Rule(
        stem, category, nouns, pattern, unless, sided=bool(nouns) and nouns[0] not in ("head", "torso")
    )


_SOME = r"\b(slight\w*|a little|a bit|gently|somewhat|mild\w*|lightly)\b"
_MUCH = r"\b(fully|sharp\w*|tight\w*|complete\w*|deep\w*|strongly|acute\w*|folded|hard)\b"
_RIGHT = r"(right angle|90|ninety|l[- ]shape)"
_BENT = r"\b(bent|flexed|bend|bending|flexing|crooked|folded)\b"
_STRAIGHT = r"\b(straight(?! (up|down|ahead))|extended|outstretched|unbent|stretched|straightened|locked)\b"
_UPWARD = r"\b(up|upward|upwards|raised|lifted|overhead|skyward|above)\b"
_DOWNWARD = r"\b(down|downward|downwards|lowered|hang\w*|dangl\w*|drop\w*)\b"
_FORWARD = r"\b(forward|forwards|front|ahead)\b"
_BACKWARD = r"\b(back|backward|backwards|rear|behind)\b"
_SIDEWAYS = r"\b(side|sideways|sides|outward|outwards|laterally|spread)\b"


def _bends(stem: str, nouns: tuple[str, ...]) -> list[Rule]:
    return [
        _r(stem, "straight", nouns, _STRAIGHT, _BENT),
        _r(stem, "slightly_bent", nouns, f"{_SOME}.*{_BENT}|{_BENT}.*{_SOME}"),
        _r(stem, "right_angle", nouns, _RIGHT),
        _r(stem, "fully_bent", nouns, f"{_MUCH}.*{_BENT}|{_BENT}.*{_MUCH}", _RIGHT),
        _r(stem, "half_bent", nouns, _BENT, f"{_SOME}|{_MUCH}|{_RIGHT}|{_STRAIGHT}"),
    ]


RULES: tuple[Rule, ...] = (
    *_bends("elbow", ("arm", "elbow")),
    *_bends("knee", ("leg", "knee")),
    _r(
        "upper_arm",
        "raised",
        ("arm", "upper_arm"),
        r"\b(raised|lifted)\b(?!.*\b(straight up|overhead|high)\b)",
        r"\b(not|side|sides|front|level|horizontal\w*|shoulder height|forward|sideways)\b",
    ),
    _r(
        "upper_arm",
        "up",
        ("arm", "upper_arm"),
        r"\b(straight up|overhead|above (the|his|her|their) head|raised high|vertically up"
        r"|up in the air)\b",
    ),
    _r(
        "upper_arm",
        "down",
        ("arm", "upper_arm"),
        r"\b(hang\w*|straight down|at (the|his|her|their) sides?|lowered|alongside|dangl\w*)\b",
        r"\b(slight\w*|front|behind)\b",
    ),
    _r(
        "upper_arm",
        "level",
        ("arm", "upper_arm"),
        r"\b(horizontal\w*|level|parallel|shoulder height|t[- ]pose|out to (the|his|her|their) sides?"
        r"|stretched (out )?(to the sides?|sideways|forward)|held out|straight (ahead|out)|reaching forward)\b",
    ),
    _r(
        "upper_arm_way",
        "outward",
        ("arm", "upper_arm"),
        r"\b(out to (the|his|her|their) sides?|sideways|to the sides?|t[- ]pose|outward|laterally)\b",
    ),
    _r(
        "upper_arm_way",
        "forward",
        ("arm", "upper_arm"),
        r"\b(forward|straight ahead|in front|to the front)\b",
    ),
    _r(
        "upper_arm_way",
        "back",
        ("arm", "upper_arm"),
        r"\b(backward|backwards|drawn back|to the back|swung back|pulled back)\b",
    ),
    _r(
        "forearm",
        "up",
        ("forearm",),
        r"\b(straight up|vertical(ly)? up|pointing up|upright|vertical)\b",
        r"\bdown\b",
    ),
    _r("forearm", "down", ("forearm",), r"\b(hang\w*|straight down|pointing down)\b"),
    _r("forearm", "level", ("forearm",), r"\b(horizontal\w*|level|parallel)\b"),
    _r("forearm", "raised", ("forearm",), r"\b(raised|upward|upwards)\b"),
    _r("forearm_way", "forward", ("forearm",), r"\b(forward|ahead|in front)\b"),
    _r("forearm_way", "across", ("forearm",), r"\b(across|inward)\b"),
    _r(
        "hand_height",
        "above_head",
        ("hand", "arm"),
        r"\b(above|over) (the|his|her|their) head\b|\boverhead\b",
    ),
    _r(
        "hand_height",
        "head",
        ("hand",),
        r"\b(head|face|eye|ear)[- ](height|level|high)\b|at the height of the (head|face)"
        r"|\bbeside the head\b",
    ),
    _r(
        "hand_height",
        "shoulders",
        ("hand", "arm"),
        r"\bshoulders?[- ](height|level|high)\b|at the height of the shoulders?|level with the shoulders?",
    ),
    _r(
        "hand_height",
        "chest",
        ("hand",),
        r"\b(chest|breast|rib)[- ](height|level|high)\b|\b(in front of|before|at) the chest\b"
        r"|level with the chest",
    ),
    _r(
        "hand_height",
        "hips",
        ("hand",),
        r"\b(hip|waist|belt)[- ](height|level|high)\b|by the (hips?|waist)|beside the hips?",
    ),
    _r(
        "hand_height",
        "below_hips",
        ("hand",),
        r"\b(below|under|lower than) the (hips?|waist)\b|\bby the thighs?\b",
    ),
    _r("hand_depth", "behind", ("hand", "arm"), r"\bbehind (the|his|her|their) (back|body|torso)\b"),
    _r(
        "hand_depth",
        "in_front",
        ("hand",),
        r"\bin front of (the|his|her|their) (body|torso|chest|belly|stomach)\b",
    ),
    _r(
        "hand_side",
        "across",
        ("hand", "arm"),
        r"\b(across|over) (the|his|her|their) (body|chest|torso|midline)\b|\bcross(es|ing)? the (body"
        r"|midline)\b",
    ),
    _r("hand_side", "far_out", ("hand",), r"\bfar (out )?to (the|its) sides?\b"),
    _r(
        "touch_head",
        "near",
        ("hand",),
        _AT + r"\b(head|face|forehead|ear|chin|cheek|mouth|hair|nose|eyes?)\b",
        r"\b(height|level|high|shoulder)\b",
    ),
    _r("touch_hip", "near", ("hand",), _AT + r"\b(hips?|waist)\b", r"\b(height|level|high)\b"),
    _r("touch_knee", "near", ("hand",), _AT + r"\bknees?\b"),
    _r("touch_foot", "near", ("hand",), _AT + r"\b(foot|feet|toes|ankles?)\b"),
    _r(
        "touch_hand",
        "near",
        ("hand",),
        r"\b(clasped|folded together|together|joined|held together|touch\w* (each other|the other hand"
        r"|one another))\b",
    ),
    _r("hands_spread", "close", ("hand",), r"\b(close together|clasped|together|near each other|joined)\b"),
    _r("hand_ground", "ground", ("hand",), r"\b(ground|floor)\b", r"\b(off|above|toward|towards)\b"),
    _r("thigh", "down", ("thigh", "leg"), r"\b(straight down|vertical)\b"),
    _r(
        "thigh", "level", ("thigh", "leg"), r"\b(horizontal\w*|level|parallel|hip height|lifted to the hip)\b"
    ),
    _r("thigh", "raised", ("thigh", "leg"), r"\b(raised high|lifted high|kicked up|high in the air)\b"),
    _r("thigh_way", "forward", ("thigh", "leg"), r"\b(forward|in front|to the front)\b", r"\bother\b"),
    _r("thigh_way", "back", ("thigh", "leg"), r"\b(backward|backwards|behind|to the back)\b", r"\bother\b"),
    _r("thigh_way", "outward", ("thigh", "leg"), r"\b(to the side|sideways|outward|outwards)\b"),
    _r("shin", "down", ("shin",), r"\b(vertical|straight down|upright)\b"),
    _r("shin", "level", ("shin",), r"\b(horizontal\w*|level|parallel)\b"),
    _r(
        "foot_ahead",
        "ahead",
        ("foot", "leg"),
        r"\b(in front of|ahead of|before) the (other|left|right)\b|\bsteps? forward\b|\bforward of\b",
    ),
    _r("foot_ahead", "behind", ("foot", "leg"), r"\b(behind|in back of|trail\w*) the (other|left|right)\b"),
    _r("foot_higher", "higher", ("foot",), r"\b(higher than|above) the (other|left|right)\b"),
    _r(
        "foot_ground",
        "ground",
        ("foot",),
        r"\b(on|touch\w*|flat on) the (ground|floor)\b|\bplanted\b",
        r"\b(off|not)\b",
    ),
    _r(
        "foot_ground",
        "air",
        ("foot", "leg"),
        r"\b(off the (ground|floor)|in the air|lifted|raised)\b",
        r"\bhigh\b",
    ),
    _r("knee_ground", "ground", ("knee",), r"\b(on the (ground|floor)|touch\w* the (ground|floor))\b"),
    _r(
        "feet_spread",
        "close",
        ("foot", "leg"),
        r"\b(close together|together|side by side|next to each other)\b",
    ),
    _r("feet_spread", "apart", ("foot", "leg"), r"\b(shoulder[- ]width|slightly apart|hip[- ]width)\b"),
    _r("feet_spread", "wide", ("foot", "leg"), r"\b(wide apart|spread (wide|apart)|far apart|wide stance)\b"),
    _r("legs_crossed", "crossed", ("leg", "foot"), r"\bcross(ed|es|ing)?\b"),
    _r(
        "nod",
        "bowed",
        ("head",),
        r"\b(bowed|lowered|looking down|bent forward|tilted (down|forward)|down|tucked|forward)\b",
        r"\bupside\b",
    ),
    _r(
        "nod",
        "back",
        ("head",),
        r"\b(tilted back|thrown back|looking up|tilted up|backward|backwards|up)\b",
        r"\b(right|down|upright)\b",
    ),
    _r("nod", "straight", ("head",), r"\b(straight|upright|neutral|level|looking ahead)\b"),
    _r(
        "tilt", "left", ("head",), r"\b(to (the|his|her|their) left|leftward|left shoulder)\b", r"\bturn|look"
    ),
    _r(
        "tilt",
        "right",
        ("head",),
        r"\b(to (the|his|her|their) right|rightward|right shoulder)\b",
        r"\bturn|look",
    ),
    _r("inclination", "upright", ("torso",), r"\b(upright|straight|vertical|erect)\b", r"\b(arms?|legs?)\b"),
    _r(
        "inclination",
        "leaning",
        ("torso",),
        r"\b(lean\w*|inclin\w*|tilt\w*)\b",
        r"\b(far|strong\w*|deep\w*|hard)\b",
    ),
    _r("inclination", "bent", ("torso",), r"\b(bent (over|forward|far)|far|strongly|hunched over|deeply)\b"),
    _r("inclination", "horizontal", ("torso",), r"\b(horizontal|parallel to the (ground|floor)|flat)\b"),
    _r(
        "lean",
        "forward",
        ("torso",),
        r"\b(lean\w*|bent|inclin\w*|tilt\w*|hunch\w*)\b.*\b(forward|forwards|over|front)\b",
    ),
    _r(
        "lean",
        "backward",
        ("torso",),
        r"\b(lean\w*|arch\w*|inclin\w*|tilt\w*)\b.*\b(back|backward|backwards)\b",
    ),
    _r("lean", "left", ("torso",), r"\b(lean\w*|bent|inclin\w*|tilt\w*)\b.*\bleft\b"),
    _r("lean", "right", ("torso",), r"\b(lean\w*|bent|inclin\w*|tilt\w*)\b.*\bright\b"),
    _r("twist", "left", ("torso",), r"\b(twist\w*|rotat\w*|turned at the waist)\b.*\bleft\b"),
    _r("twist", "right", ("torso",), r"\b(twist\w*|rotat\w*|turned at the waist)\b.*\bright\b"),
    _r(
        "facing",
        "toward",
        (),
        r"\b(fac\w+|turned|looking) (to |toward |towards |at |into )?(the )?(camera|viewer|us)\b",
        r"\baway\b",
    ),
    _r(
        "facing",
        "away",
        (),
        r"\b(fac\w+|turned|looking) away\b|\bseen from behind\b|\bback (is )?to the camera\b",
    ),
    _r(
        "facing",
        "left",
        (),
        r"\bfac\w+ (the )?(left|picture left|left of the (picture|image|frame))\b|\bprofile\b.*\bleft\b",
    ),
    _r(
        "facing",
        "right",
        (),
        r"\bfac\w+ (the )?(right|picture right|right of the (picture|image|frame))\b"
        r"|\bprofile\b.*\bright\b",
    ),
    _r("posture", "standing", (), r"\b(stand\w*|stood)\b", r"\b(on (the |his |her |their )?(hands|head))\b"),
    _r("posture", "sitting", (), r"\b(sit|sits|sitting|seated|sat)\b"),
    _r(
        "posture",
        "kneeling",
        (),
        r"\b(kneel\w*|knelt|on (the |his |her |their )?(knees|one knee))\b",
        r"\b(hands|hand) .*\bknees?\b",
    ),
    _r("posture", "squatting", (), r"\b(squat\w*|crouch\w*)\b"),
    _r("posture", "lying", (), r"\b(lying|lies|laying|lie|reclin\w*|prone|supine)\b"),
    _r("posture", "all_fours", (), r"\b(all fours|crawl\w*|hands (and|plus|&) knees)\b"),
    _r("posture", "bending", (), r"\b(bending over|bent over|bends over|stooping|stoops)\b"),
    _r("posture", "upside_down", (), r"\b(upside down|handstand|headstand|cartwheel)\b"),
    _r("hips_ground", "ground", ("torso",), r"\b(hips|buttocks|bottom|seat)\b.*\b(ground|floor)\b"),
)
