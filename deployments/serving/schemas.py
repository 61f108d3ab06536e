"""What goes over the wire: options in, bodies out. Unknown keys are refused; fields say unit and frame.

Pixels are of the upright picture (EXIF orientation applied), x to the right, y down, origin in the top left
corner. The camera frame is OpenCV's: x right, y down, z forward, metres. Angles are radians.
"""

from typing import Annotated, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, field_validator

Output = Literal["json", "glb", "overlay", "hypotheses", "meshes", "bvh"]
Finite = Annotated[float, AllowInfNan(False)]
Pixel = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Box = Annotated[list[Pixel], Field(min_length=4, max_length=4)]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Keypoints = Annotated[list[tuple[Pixel, Pixel, Confidence]], Field(min_length=23, max_length=23)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Options(_Closed):
    """How to recover. The same in a JSON request, in a form's fields and in the client."""

    hypotheses: int = Field(
        default=20,
        ge=1,
        le=100,
        description="Answers to draw per person, of which the scorer selects one; a count.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**53,
        description="Seed of the draws; the same picture, options and seed give the same answer.",
    )
    boxes: list[Box] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="People to look at, as [x0, y0, x1, y1] in pixels of the upright picture, in place of "
        "the detector's boxes. Needs a request with one picture. In a form: JSON text.",
    )
    focal_px: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="Focal length in pixels of the upright picture, the principal point being its centre. "
        "Left out: from EXIF where present, else a stated default.",
    )
    refine: bool = Field(
        default=False,
        description="Draw the answers to the keypoints that were seen; takes about three times as long.",
    )
    checkpoint: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Who answers: one of the checkpoints of /v1/models; left out, the service's own or its candidate.",
    )
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="What is true of the body, such as 'the left leg is in front'; refines towards it. Needs "
        "pictures with one person each, or one box.",
    )
    keypoints: list[Keypoints] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="People by 23 keypoints [x, y, confidence] each, pixels of the upright picture and 0 to 1, in the "
        "order of /v1/models, in place of the detector's; refines towards them. With boxes, one for each box. Needs a "
        "request with one picture. In a form: JSON text.",
    )
    outputs: list[Output] = Field(
        default=["json"],
        min_length=1,
        max_length=6,
        description="What each picture's answer holds: 'json' (always there), 'glb' (one mesh file of all "
        "people), 'overlay' (a PNG of the bodies over the picture), 'hypotheses' (numbers of every hypothesis), "
        "'meshes' (vertices of every hypothesis), 'bvh' (a skeleton file for each person). In a form: repeated, or "
        "with commas.",
    )

    @field_validator("boxes")
    @classmethod
    def _has_area(cls, boxes: list[Box] | None) -> list[Box] | None:
        for x0, y0, x1, y1 in boxes or []:
            if x1 <= x0 or y1 <= y0:
                raise ValueError(
                    f"box [{x0}, {y0}, {x1}, {y1}] has no area; give [x0, y0, x1, y1], x1 > x0, y1 > y0"
                )
        return boxes


class RecoverRequest(Options):
    """The JSON form of a request. The multipart form has the same options as fields beside its files."""

    images: list[str] = Field(
        min_length=1,
        description="Encoded pictures (JPEG, PNG, WebP, ...) in base64; a data: URL's prefix is allowed.",
    )


class IntrinsicsAnswer(_Closed):
    focal_px: Finite = Field(description="Focal length, pixels.")
    center_px: list[Finite] = Field(description="Principal point [x, y], pixels.")
    source: Literal["given", "exif", "default"] = Field(description="Where the focal length comes from.")


class RefinementAnswer(_Closed):
    """What drawing a person's answer to its evidence did."""

    off_before: Finite = Field(
        description="Mean distance of the unguided noise-free answer's keypoints from those that were seen or given, "
        "by confidence; shares of the crop's side."
    )
    off_after: Finite = Field(description="The same of this answer.")
    moved_mm: Finite = Field(
        description="Mean distance that joints of the hypotheses went, root-relative, mm."
    )
    fell_back: dict[str, int] = Field(
        description="Hypotheses that stayed as they were drawn, by reason: not_finite, no_better, impossible; counts."
    )
    hypotheses: int = Field(description="Hypotheses that were drawn; a count.")
    told: dict[str, str] = Field(description="What was understood of the text: fact to category.")
    told_before: Finite | None = Field(
        description="Share of it that the unguided noise-free answer plainly shows, 0 to 1; null without a text."
    )
    told_after: Finite | None = Field(description="The same of this answer.")
    unread: list[str] = Field(description="Clauses of the text that weren't understood.")
    contradictions: list[str] = Field(description="What the text says that can't both be true.")
    given_keypoints: bool = Field(description="Whether the request gave the keypoints.")


class HypothesesAnswer(_Closed):
    """Every answer that was drawn for a person, in the order they were drawn; 0 is the noise-free one."""

    pose_aa: list[list[list[Finite]]] = Field(
        description="(hypotheses, 24, 3); as the person's pose_aa, radians."
    )
    betas: list[list[Finite]] = Field(description="(hypotheses, 10); standard deviations.")
    transl_cam_m: list[list[Finite]] = Field(description="(hypotheses, 3); camera frame, metres.")
    joints_cam_m: list[list[list[Finite]]] = Field(description="(hypotheses, 24, 3); camera frame, metres.")
    keypoints_cam_m: list[list[list[Finite]]] = Field(
        description="(hypotheses, 23, 3); the body's keypoints, camera frame, metres."
    )
    keypoints_px: list[list[list[Finite]]] = Field(
        description="(hypotheses, 23, 2); the same projected, pixels."
    )
    expected_error_mm: list[Finite] = Field(
        description="HMR-Scorer's estimate of each one's mean joint error, mm; scores are in hypothesis_scores."
    )


class PersonAnswer(_Closed):
    """One person, as the selected hypothesis."""

    box_px: list[Finite] = Field(description="[x0, y0, x1, y1], pixels.")
    detection_score: Finite = Field(description="Detector's confidence, 0 to 1.")
    keypoints_px: list[list[Finite]] = Field(
        description="Detected 2D keypoints [x, y, confidence], pixels and 0 to 1; names in /v1/models."
    )
    pose_aa: list[list[Finite]] = Field(
        description="24 SMPL joint rotations as axis-angle vectors, radians, each relative to its parent; "
        "the first is the root's orientation in the camera frame."
    )
    betas: list[Finite] = Field(description="10 SMPL shape coefficients, standard deviations.")
    transl_cam_m: list[Finite] = Field(
        description="Added to every vertex and joint of the posed model; camera frame, metres."
    )
    joints_cam_m: list[list[Finite]] = Field(description="24 SMPL joints, camera frame, metres.")
    joints_px: list[list[Finite]] = Field(description="The same joints projected, pixels.")
    joint_spread_mm: list[Finite] = Field(
        description="Standard deviation of each joint over the hypotheses, relative to the root, mm; "
        "larger is less certain. Zeros when one hypothesis was drawn."
    )
    joint_error_mm: list[list[Finite]] | None = Field(
        default=None,
        description="For each joint, the expected error relative to the root and the ends of its 90 % interval, mm; "
        "calibrated on held-out people as the base model's card says. Null where it was never calibrated.",
    )
    score: Finite = Field(
        description="HMR-Scorer's score; larger is better; comparable within one person only."
    )
    expected_error_mm: Finite = Field(
        description="HMR-Scorer's estimate of the mean joint error, millimetres."
    )
    error_interval_mm: list[Finite] | None = Field(
        default=None,
        description="Ends of the 90 % interval of that error, mm; null where the scorer was never calibrated.",
    )
    hypothesis_scores: list[Finite] = Field(
        description="Score of every hypothesis, in the order they were drawn."
    )
    selected: int = Field(
        description="Index of the answer: of 8 or more the last, the mean of the noise-free one (0) and the best."
    )
    seed: int = Field(description="Seed of this person's draws: the request's, plus the person's index.")
    refinement: RefinementAnswer | None = Field(
        default=None, description="What refinement did; null where it wasn't asked for."
    )
    hypotheses: HypothesesAnswer | None = Field(
        default=None, description="Every hypothesis in numbers; null unless outputs has 'hypotheses'."
    )
    meshes_base64: str | None = Field(
        default=None,
        description="Every hypothesis's vertices, base64 of (hypotheses, vertices, 3) int16, little-endian, tenths of "
        "a millimetre from that hypothesis's transl_cam_m along the camera's axes; with outputs 'meshes', null "
        "otherwise. Triangles: faces_base64.",
    )
    bvh: str | None = Field(
        default=None,
        description="The selected hypothesis as a BVH file's text, metres, y up; null unless outputs has 'bvh'.",
    )


class ErrorAnswer(_Closed):
    """Every refusal and failure, whatever its status."""

    code: str = Field(description="Stable and machine-readable, such as 'invalid_options' or 'overloaded'.")
    message: str = Field(
        description="One sentence: what was wrong, the value seen, the value wanted, what to do."
    )
    request_id: str = Field(description="Also in the X-Request-ID header and in the service's log.")


class PictureAnswer(_Closed):
    """One picture of the request, in the request's order."""

    sha256: str = Field(description="Hex digest of the encoded bytes.")
    width_px: int = Field(
        description="Of the upright picture, pixels; 0 where the picture could not be read."
    )
    height_px: int = Field(
        description="Of the upright picture, pixels; 0 where the picture could not be read."
    )
    intrinsics: IntrinsicsAnswer | None = Field(description="The camera assumed for the whole picture.")
    people: list[PersonAnswer] = Field(description="Everyone found; empty when nobody was.")
    left_out: list[str] = Field(
        default=[], description="For each person who was found and could not be recovered: why."
    )
    note: str | None = Field(
        default=None, description="In words, what a reader of an unusual answer should know."
    )
    overlay_png_base64: str | None = Field(
        default=None,
        description="Bodies over the picture, PNG, base64; the longer side is at most 1600 pixels.",
    )
    glb_base64: str | None = Field(
        default=None,
        description="All people as one binary glTF, base64; m, glTF axes (x right, y up, z to the viewer).",
    )
    error: ErrorAnswer | None = Field(
        default=None, description="Why this picture has no answer; other pictures are unaffected."
    )


class Timings(_Closed):
    """Milliseconds; with several pictures, of the slowest."""

    read: Finite = Field(description="Receiving and parsing the request, ms.")
    wait: Finite = Field(
        description="Waiting for a free model replica and for a batch to fill, and transport, ms."
    )
    decode: Finite = Field(description="Decoding the picture, ms.")
    find: Finite = Field(description="Finding people and their keypoints, ms.")
    recover: Finite = Field(description="The batch of hypotheses this request was part of, ms.")
    draw: Finite = Field(description="Meshes and overlays, ms.")
    total: Finite = Field(description="From the first byte read to the answer, ms.")


class RecoverAnswer(_Closed):
    request_id: str = Field(description="Also in the X-Request-ID header and in the service's log.")
    pictures: list[PictureAnswer] = Field(description="One per picture of the request, in its order.")
    hypotheses: int = Field(description="Answers drawn per person; a count.")
    seed: int = Field(description="Seed of the draws.")
    body_model: str = Field(description="Name of the SMPL-format body model that pose and betas belong to.")
    models: dict[str, str] = Field(description="Digest of everything that touched the answer, by role.")
    faces_base64: str | None = Field(
        default=None,
        description="Triangles of every mesh of meshes_base64, base64 of (faces, 3) int32 vertex indices, "
        "little-endian, outwards counterclockwise; null unless outputs has 'meshes'.",
    )
    timings_ms: Timings = Field(description="Where the time went, milliseconds.")


class JobAnswer(_Closed):
    """How far a job is."""

    id: str = Field(description="Names the job in /v1/jobs/ID.")
    state: Literal["queued", "running", "done", "cancelled"] = Field(
        description="'queued': no picture has a result yet. 'done': all have one. 'cancelled': the rest won't get one."
    )
    pictures: int = Field(description="Pictures of the job; a count.")
    finished: int = Field(description="Pictures with a result; a count.")
    failed: int = Field(description="Pictures whose result is an error; a count, part of finished.")
    created: str = Field(description="When it was asked for; ISO 8601, UTC.")


class JobResult(_Closed):
    """One picture of a job: a line of /v1/jobs/ID/results."""

    index: int = Field(description="Which of the job's pictures, from 0, in the order they were sent.")
    picture: PictureAnswer = Field(description="As in the answer of /v1/recover.")
    body_model: str | None = Field(description="Name of the body model; null for an error.")
    models: dict[str, str] = Field(description="Digest of everything that touched the answer, by role.")
    faces_base64: str | None = Field(default=None, description="As in the answer of /v1/recover.")


class LimitsAnswer(_Closed):
    max_body_bytes: int = Field(description="Largest request body, bytes.")
    max_image_bytes: int = Field(description="Largest encoded picture, bytes.")
    max_pixels: int = Field(description="Largest picture, width times height, pixels.")
    max_images: int = Field(description="Most pictures in one request; a count.")


class ModelsAnswer(_Closed):
    version: str = Field(description="Version of alignhmr.")
    body_model: str = Field(description="Name of the SMPL-format body model.")
    models: dict[str, str] = Field(description="Digest of each model, by role.")
    joints: list[str] = Field(description="Names of the 24 joints, in the order of every joints field.")
    keypoints: list[str] = Field(description="Names of the keypoints, in the order of keypoints_px.")
    checkpoints: list[str] = Field(description="Names that the option 'checkpoint' can have.")
    faces: int = Field(description="Triangles of the mesh in GLB files; a count.")
    limits: LimitsAnswer = Field(description="What the service accepts.")


class HealthAnswer(_Closed):
    status: Literal["ok", "ready"] = Field(
        description="'ok': the process answers. 'ready': a model replica runs."
    )
