"""Who stands where, what they hold, what stands around them, and from where it is seen: one picture before it is drawn.

World: metres, y up, ground y = 0, the main person at the origin. Nobody stands in anybody: people are moved
apart until their capsules don't touch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.synthetic import contact
from alignhmr.core.synthetic.cameras import Camera, look
from alignhmr.core.synthetic.clothing import Outfit, dress
from alignhmr.core.synthetic.domains import Domain
from alignhmr.core.synthetic.objects import CLUTTER, HELD, OCCLUDERS, Thing, box, make_thing, turn_about_y
from alignhmr.core.synthetic.performances import Actors, Performance
from alignhmr.core.synthetic.skinning import Skin
from alignhmr.core.synthetic.skirts import make_skirt

Stream = Callable[[str], np.random.Generator]
"""Gives the generator of one topic, so that one topic's draws don't shift another's."""

_LEFT_HAND, _RIGHT_HAND = 22, 23


@dataclass(frozen=True)
class Placed:
    """One person in the world. ``rotations[0]`` includes the heading."""

    performance: Performance
    rotations: Float[np.ndarray, "24 3 3"]
    outfit: Outfit
    offset_m: Float[np.ndarray, "3"]
    """Added to the posed body."""
    motions: Float[np.ndarray, "24 3 4"]
    """Of the joints, without the offset."""
    vertices_m: Float[np.ndarray, "verts 3"]
    """Of the dressed surface, in the world."""

    @property
    def joints_m(self) -> Float[np.ndarray, "24 3"]:
        return self.motions[:, :, 3] + self.offset_m


def place_people(stream: Stream, domain: Domain, actors: Actors, skin: Skin, tag: str) -> list[Placed]:
    """Everyone of one picture, on the ground, not in each other."""
    rng = stream("people")
    wanted = int(rng.integers(domain.people[0], domain.people[1] + 1))
    people: list[Placed] = []
    for index in range(wanted):
        draw = stream(f"person {index}")
        performance = actors.draw(draw, domain.poses, domain.jitter, f"{tag}/{index}")
        wardrobe = domain.wardrobes[int(draw.integers(len(domain.wardrobes)))]
        outfit = dress(draw, wardrobe)
        heading = turn_about_y(draw.uniform(0, 2 * np.pi))
        rotations = performance.rotations.copy()
        rotations[0] = (heading[:, :, None] * rotations[0][None]).sum(1)
        motions = actors.skin.motions(rotations, performance.betas)  # of the body that the truth names
        surface = skin.vertices(motions, performance.betas, outfit.thickness_m(skin.template_m))
        center = motions[[0, 1, 2, 12], :, 3].mean(0)
        offset = np.array([-center[0], -surface[:, 1].min(), -center[2]])
        joints = motions[:, :, 3] + offset
        spot = _free_spot(draw, joints, [person.joints_m for person in people], actors.radii)
        if spot is None:
            continue
        people.append(Placed(performance, rotations, outfit, offset + spot, motions, surface + offset + spot))
    return people


def _free_spot(draw, joints, others, radii) -> np.ndarray | None:
    """Where the joints may be moved to on the ground; None if there was no room."""
    if not others:
        return np.zeros(3)
    for attempt in range(40):
        angle, far = draw.uniform(0, 2 * np.pi), draw.uniform(0.35, 1.0 + 0.06 * attempt)
        spot = np.array([far * np.cos(angle), 0.0, far * np.sin(angle)]) * (1 + 0.25 * len(others))
        if all(contact.contact(joints + spot, other, radii * 1.15) <= 0 for other in others):
            return spot
    return None


def place_camera(stream: Stream, domain: Domain, people: list[Placed], size: tuple[int, int]) -> Camera:
    """A camera of the domain's kind that looks at the main person, or at everyone in a crowd."""
    rng = stream("camera")
    diagonal = float(np.hypot(*size))
    focal = diagonal * float(np.exp(rng.uniform(*np.log(domain.focal_share))))
    crowd = domain.people[0] > 1
    points = np.concatenate([p.joints_m for p in people]) if crowd else people[0].joints_m
    low, high = points.min(0), points.max(0)
    extent = max(high[1] - low[1] + 0.2, 0.8 * float(np.hypot(high[0] - low[0], high[2] - low[2])), 0.9)
    fill = rng.uniform(*domain.fill)
    distance = max(focal * extent / (fill * size[1]), 1.4)
    target = (low + high) / 2
    if fill > 0.95:  # cut off: mostly the legs, sometimes the head
        target[1] = low[1] + (high[1] - low[1]) * rng.uniform(0.35, 0.9)
    height = rng.uniform(*domain.camera_height_m)
    rise = np.clip(height - target[1], -0.6 * distance, 0.75 * distance)
    height = max(float(target[1] + rise), 0.15)
    along = float(np.sqrt(max(distance**2 - (height - target[1]) ** 2, 0.25)))
    aside = np.clip(rng.normal(0, domain.off_center / 2, 2), -domain.off_center, domain.off_center)
    target_px = (size[0] / 2 * (1 + aside[0]), size[1] / 2 * (1 + 0.6 * aside[1]))
    return look(
        target, rng.uniform(0, 2 * np.pi), height, along, roll_rad=float(rng.normal(0, domain.roll_rad)),
        focal_px=focal, size=size, target_px=target_px,
    )  # fmt: skip


def place_things(
    stream: Stream, domain: Domain, people: list[Placed], camera: Camera, skin: Skin
) -> list[Thing]:
    """Held, worn and sat on; standing about; and before the camera."""
    things: list[Thing] = []
    for index, person in enumerate(people):
        draw = stream(f"things {index}")
        if person.outfit.skirt:
            skirt = make_skirt(
                person.outfit.skirt,
                person.outfit.bottom,
                person.joints_m,
                person.vertices_m,
                skin.part,
                index,
            )
            things += [skirt] if skirt else []
        if person.performance.kind == "seated":
            things.append(_stool(draw, person))
        elif draw.random() < domain.held:
            things.append(_held(draw, person))
    rng = stream("clutter")
    ground = np.array([camera.eye_m[0], camera.eye_m[2]])
    spots = np.stack([person.offset_m[[0, 2]] for person in people])
    for _ in range(int(rng.integers(domain.clutter[0], domain.clutter[1] + 1))):
        thing = make_thing(rng, CLUTTER[int(rng.integers(len(CLUTTER)))])
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 5.0)
        spot = np.array([far * np.cos(angle), far * np.sin(angle)])
        turn = turn_about_y(rng.uniform(0, 2 * np.pi))
        if _clear_of(spot, spots, ground):
            things.append(thing.moved(turn, _standing(thing, spot)))
    if rng.random() < domain.occluder:
        thing = make_thing(rng, OCCLUDERS[int(rng.integers(len(OCCLUDERS)))])
        whose = spots[int(rng.integers(len(spots)))]
        share = rng.uniform(0.35, 0.8)
        across = np.array([-(whose - ground)[1], (whose - ground)[0]]) * rng.uniform(-0.12, 0.12)
        spot = ground + share * (whose - ground) + across
        reach = float(np.hypot(*thing.vertices_m[:, [0, 2]].T).max())
        near = np.concatenate([p.joints_m[:, [0, 2]] for p in people]) - spot
        gap = float(np.sqrt((near**2).sum(1)).min())
        if gap > reach + 0.12 and float(np.hypot(*(spot - ground))) > reach + 0.4:
            turn = turn_about_y(rng.uniform(0, 2 * np.pi))
            things.append(thing.moved(turn, _standing(thing, spot)))
    return things


def _standing(thing: Thing, spot: np.ndarray) -> np.ndarray:
    return np.array([spot[0], -thing.vertices_m[:, 1].min(), spot[1]])


def _clear_of(spot: np.ndarray, people: np.ndarray, eye: np.ndarray) -> bool:
    """Whether clutter there is in nobody, in no camera, and not in between."""
    if np.sqrt(((people - spot) ** 2).sum(1)).min() < 1.0 or np.hypot(*(spot - eye)) < 1.3:
        return False
    for person in people:
        line = person - eye
        along = np.clip(((spot - eye) * line).sum() / (line**2).sum(), 0, 1)
        if along < 0.98 and np.hypot(*(spot - eye - along * line)) < 0.75:
            return False
    return True


def _stool(draw, person: Placed) -> Thing:
    joints = person.joints_m
    top = max(float(joints[0, 1]) - 0.13, 0.1)
    width = draw.uniform(0.32, 0.55)
    color = np.clip(draw.uniform(0.04, 0.6) * (1 + draw.uniform(-0.5, 0.5, 3)), 0.01, 0.9)
    center = joints[[0, 1, 2]].mean(0)
    heading = person.rotations[0]
    turn = turn_about_y(float(np.arctan2(heading[0, 2], heading[2, 2])))
    return box((width, top, width), (0.0, top / 2, 0.0), color).moved(
        turn, np.array([center[0], 0.0, center[2]])
    )


def _held(draw, person: Placed) -> Thing:
    thing = make_thing(draw, HELD[int(draw.integers(len(HELD)))])
    hand = _LEFT_HAND if draw.random() < 0.5 else _RIGHT_HAND
    side = 1.0 if hand == _LEFT_HAND else -1.0
    turn = person.motions[hand, :, :3]
    # The middle of the palm: past the knuckles, and below, where the fingers close.
    grip = person.joints_m[hand] + (turn * np.array([0.02 * side, -0.035, 0.0])).sum(1)
    if thing.name in ("box", "ball"):
        reach = float(np.abs(thing.vertices_m[:, 1]).max())
        return thing.moved(turn, grip + (turn * np.array([0.0, -reach, 0.0])).sum(1))
    if thing.name in ("bag", "umbrella"):
        return thing.moved(turn_about_y(draw.uniform(0, 2 * np.pi)), grip)
    # A pole lies across the palm: along the rest body's z axis.
    across = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    return thing.moved((turn[:, :, None] * across[None]).sum(1), grip)
