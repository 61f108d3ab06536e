"""Sentences about poses as others write them, and the posecodes that each means; none is of our lexicon.

By the hand that wrote the patterns of ``core/language/paraphrases.py``, after them: a stranger's sentences would be
read worse. A code is listed where a careful reader would insist on it.
"""

PARAPHRASES: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "The person is standing with their left arm raised above the head.",
        {"posture": "standing", "left_hand_height": "above_head"},
    ),
    ("He is kneeling on one knee.", {"posture": "kneeling"}),
    (
        "She sits on a chair with her hands resting on her knees.",
        {"posture": "sitting", "left_touch_knee": "near", "right_touch_knee": "near"},
    ),
    ("The right arm hangs loosely at the side.", {"right_upper_arm": "down"}),
    (
        "The left arm hangs straight down alongside the body.",
        {"left_upper_arm": "down", "left_elbow": "straight"},
    ),
    (
        "Both arms are extended out to the sides at shoulder height.",
        {
            "left_upper_arm": "level",
            "right_upper_arm": "level",
            "left_upper_arm_way": "outward",
            "right_upper_arm_way": "outward",
            "left_elbow": "straight",
            "right_elbow": "straight",
        },
    ),
    ("The right elbow is bent at 90 degrees.", {"right_elbow": "right_angle"}),
    ("His left elbow is slightly bent.", {"left_elbow": "slightly_bent"}),
    ("The right knee is deeply bent.", {"right_knee": "fully_bent"}),
    (
        "Left knee bent at a right angle, foot off the ground.",
        {"left_knee": "right_angle", "left_foot_ground": "air"},
    ),
    ("The left leg is straight.", {"left_knee": "straight"}),
    (
        "Both legs are straight and close together.",
        {
            "left_knee": "straight",
            "right_knee": "straight",
            "left_feet_spread": "close",
            "right_feet_spread": "close",
        },
    ),
    ("The feet are shoulder-width apart.", {"left_feet_spread": "apart", "right_feet_spread": "apart"}),
    ("The right foot is in front of the left foot.", {"right_foot_ahead": "ahead"}),
    ("The left foot is behind the right.", {"left_foot_ahead": "behind"}),
    ("The legs are crossed.", {"left_legs_crossed": "crossed", "right_legs_crossed": "crossed"}),
    ("The torso leans slightly forward.", {"inclination": "leaning", "lean": "forward"}),
    ("The torso is upright.", {"inclination": "upright"}),
    ("The upper body is bent forward.", {"inclination": "bent", "lean": "forward"}),
    ("He leans back a little.", {"lean": "backward"}),
    ("The head is lowered.", {"nod": "bowed"}),
    ("She looks up, her head tilted back.", {"nod": "back"}),
    ("Her head is tilted to her left.", {"tilt": "left"}),
    ("The person is facing the camera.", {"facing": "toward"}),
    ("The person is facing away from the camera.", {"facing": "away"}),
    ("The body is in profile, facing left.", {"facing": "left"}),
    ("The right hand is behind the back.", {"right_hand_depth": "behind"}),
    ("The left hand is in front of the chest.", {"left_hand_height": "chest"}),
    ("The right hand rests on the hip.", {"right_touch_hip": "near"}),
    ("The left hand touches the head.", {"left_touch_head": "near"}),
    (
        "The hands are clasped together in front of the body.",
        {"left_touch_hand": "near", "right_touch_hand": "near"},
    ),
    ("The right arm is stretched forward.", {"right_elbow": "straight", "right_upper_arm_way": "forward"}),
    ("The left arm reaches across the chest.", {"left_hand_side": "across"}),
    ("The right hand is at waist level.", {"right_hand_height": "hips"}),
    ("The left forearm points straight up.", {"left_forearm": "up"}),
    ("The right forearm is horizontal.", {"right_forearm": "level"}),
    (
        "The right thigh is horizontal and the shin is vertical.",
        {"right_thigh": "level", "right_shin": "down"},
    ),
    ("The left leg is lifted to the side.", {"left_thigh_way": "outward"}),
    ("The right leg is kicked up high in the air.", {"right_thigh": "raised"}),
    ("He is lying on the floor.", {"posture": "lying"}),
    ("She is doing a handstand.", {"posture": "upside_down"}),
    ("The person is crawling on all fours.", {"posture": "all_fours"}),
    ("They are crouching down.", {"posture": "squatting"}),
    ("Both hands are on the ground.", {"left_hand_ground": "ground", "right_hand_ground": "ground"}),
    ("The left foot is raised off the floor.", {"left_foot_ground": "air"}),
    ("Both knees are slightly bent.", {"left_knee": "slightly_bent", "right_knee": "slightly_bent"}),
    ("The right arm is raised straight up.", {"right_upper_arm": "up"}),
    (
        "The left arm is bent, the hand at face height.",
        {"left_elbow": "half_bent", "left_hand_height": "head"},
    ),
    ("The torso is twisted to the right.", {"twist": "right"}),
    ("The right foot is planted on the ground.", {"right_foot_ground": "ground"}),
)
