"""What the camera sees behind everything: the nearest surface of a scene along each pixel's ray, lit and in shadow.

One ray a pixel. Patterns fade into their mean where they'd be finer than a pixel.
"""

import numpy as np
from jaxtyping import Float32

from alignhmr.core.synthetic.cameras import Camera
from alignhmr.core.synthetic.noise import lattice, plane_noise, rough
from alignhmr.core.synthetic.rasterizer import compiled
from alignhmr.core.synthetic.scenes import Scene, linear
from alignhmr.core.synthetic.shadows import Shadows, lit


def draw_background(
    scene: Scene, camera: Camera, shadows: Shadows, size: tuple[int, int]
) -> Float32[np.ndarray, "height width 3"]:
    """Linear colours of a picture of ``size`` (width, height)."""
    out = np.zeros((size[1], size[0], 3), np.float32)
    light = scene.light
    lamps = np.stack([light.toward, light.key, light.sky, light.ground])
    turn = np.array([np.cos(scene.yaw_rad), np.sin(scene.yaw_rad)])
    photo = np.zeros((1, 1, 3)) if scene.photo is None else np.ascontiguousarray(scene.photo, np.float64)
    _draw(
        camera.R_cam_world, camera.eye_m, camera.focal_px, camera.center_px[0], camera.center_px[1],
        turn, scene.room_m, scene.floor, scene.wall, scene.ceiling, scene.panels, scene.blocks, scene.sky,
        lamps, light.softness, shadows.depth_m, shadows.view, shadows.contact, photo, scene.photo is not None, out,
    )  # fmt: skip
    return out


def crop_photo(pixels: np.ndarray, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A random part of a photo (sRGB bytes) at the picture's size, as linear colours."""
    import cv2

    height, width = pixels.shape[:2]
    scale = rng.uniform(1.0, 1.6) * max(size[0] / width, size[1] / height)
    resized = cv2.resize(
        pixels,
        (max(size[0], round(width * scale)), max(size[1], round(height * scale))),
        interpolation=cv2.INTER_AREA,
    )
    x = int(rng.integers(resized.shape[1] - size[0] + 1))
    y = int(rng.integers(resized.shape[0] - size[1] + 1))
    part = resized[y : y + size[1], x : x + size[0]]
    return linear(part[:, ::-1] if rng.random() < 0.5 else part)


@compiled
def _texture(surface, u, v, fine, color):
    """Linear colour of a surface at (u, v) metres; ``fine`` is a pixel's width there."""
    kind, scale, seed = int(surface[0]), surface[1], int(surface[2])
    share, shade, mean = 0.0, 1.0, 0.3
    a, b = u / scale, v / scale
    if kind == 1:  # planks
        row = np.floor(a)
        along = v / (scale * 9) + lattice(int(row), 0, 0, seed)
        share = 0.8 * lattice(int(row), int(np.floor(along)), 1, seed) + 0.2 * plane_noise(
            a * 6, b * 0.6, seed
        )
        joint = (a - row < 0.05) or (along - np.floor(along) < 0.01)
        shade = 0.6 if joint else 1.0
        mean = 0.5
    elif kind == 2 or kind == 9:  # tiles, paving
        ia, ib = np.floor(a), np.floor(b)
        joint = (a - ia < 0.05) or (b - ib < 0.05)
        checked = 1.0 if (int(ia) + int(ib)) % 2 == 0 and seed % 3 == 0 else 0.0
        share = checked if kind == 2 else 0.6 * lattice(int(ia), int(ib), 0, seed)
        shade = (0.55 if joint else 1.0) * (0.9 + 0.2 * lattice(int(ia), int(ib), 1, seed))
    elif kind == 3 or kind == 7 or kind == 8:  # carpet, asphalt, sand
        share = 0.5 * plane_noise(a, b, seed) + 0.5 * plane_noise(a * 2.3, b * 2.3, seed + 1)
        shade = 0.85 + 0.3 * rough(u * 0.6, v * 0.6, seed + 2)
        mean = 0.5
        if kind == 7:  # a road has its lines, and slabs beside it
            lane = u / 3.4 - np.floor(u / 3.4)
            if lane < 0.04 and (v / 3.0 - np.floor(v / 3.0)) < 0.6:
                shade = 3.2
    elif kind == 4:  # bricks
        row = np.floor(b * 2.6)
        at = a + 0.5 * (int(row) % 2)
        col = np.floor(at)
        joint = (b * 2.6 - row < 0.12) or (at - col < 0.05)
        share = 1.0 if joint else 0.0
        shade = 0.75 + 0.5 * lattice(int(row), int(col), 0, seed) if not joint else 1.0
        mean = 0.15
    elif kind == 5:  # stripes
        share = 1.0 if (a - np.floor(a)) < 0.5 else 0.0
        mean = 0.5
    elif kind == 6 or kind == 19:  # grass, fallen leaves
        share = 0.6 * plane_noise(a, b, seed) + 0.4 * plane_noise(a * 3.1, b * 3.1, seed + 1)
        shade = 0.7 + 0.6 * rough(u * 0.35, v * 0.35, seed + 2)
        mean = 0.5
    elif kind == 10:  # facade
        ia, ib = np.floor(a), np.floor(b)
        fa, fb = a - ia, b - ib
        glass = 0.25 < fa < 0.75 and 0.3 < fb < 0.8
        shade = (
            (0.12 + 0.35 * lattice(int(ia), int(ib), 0, seed)) if glass else 0.9 + 0.15 * rough(u, v, seed)
        )
        mean = 0.0
    elif kind == 11:  # snow
        share = rough(a, b, seed)
        shade = 0.92 + 0.1 * plane_noise(a * 5, b * 5, seed)
        mean = 0.5
    elif kind == 12:  # concrete slabs
        ia, ib = np.floor(a), np.floor(b)
        joint = (a - ia < 0.012) or (b - ib < 0.012)
        share = rough(u * 0.8, v * 0.8, seed)
        shade = 0.6 if joint else 1.0
        mean = 0.5
    elif kind == 13:  # shelves
        row = np.floor(b)
        board = b - row < 0.09
        width = 0.04 + 0.03 * lattice(int(row), 7, 0, seed)
        book = int(np.floor(u / width))
        tall = 0.45 + 0.45 * lattice(int(row), book, 1, seed)
        share = 1.0 if board else 0.0
        if not board:
            shade = 0.08 if b - row > tall else 0.2 + 1.6 * lattice(int(row), book, 2, seed)
    elif kind == 14:  # window: a bright view in a frame of bars
        ia, ib = np.floor(a * 2), np.floor(b * 1.4)
        bar = (a * 2 - ia < 0.07) or (b * 1.4 - ib < 0.06)
        shade = 0.8 if bar else 1.6 + 0.8 * rough(u * 2, v * 2, seed)
        share = 0.0 if bar else 0.6
    elif kind == 15:  # painting
        share = rough(u * 3, v * 3, seed)
        shade = 0.3 + 1.4 * rough(u * 5 + 9, v * 2, seed + 3)
        mean = 0.5
    elif kind == 16:  # curtain
        shade = 0.65 + 0.5 * np.abs(np.sin(a * 3.0 + 0.6 * plane_noise(a, b * 0.3, seed)))
    elif kind == 17:  # corrugated metal
        shade = 0.75 + 0.35 * np.abs(np.sin(a * np.pi))
        share = 0.5 * rough(u * 0.3, v * 0.3, seed)
    else:
        shade = 0.93 + 0.14 * rough(u * 0.5, v * 0.5, seed)
    far = min(1.0, max(0.0, 1.6 * fine / (scale + 1e-9) - 0.3))
    share += far * (mean - share)
    shade += far * (0.9 - shade)
    for axis in range(3):
        color[axis] = (surface[3 + axis] + share * (surface[6 + axis] - surface[3 + axis])) * shade
    if kind == 13 and share < 0.5 and far < 0.5:  # each book has its own colour
        width = 0.04 + 0.03 * lattice(int(np.floor(b)), 7, 0, seed)
        for axis in range(3):
            color[axis] *= 0.3 + 1.4 * lattice(int(np.floor(u / width)), int(np.floor(b)), 3 + axis, seed)


@compiled
def _sky(sky, x, y, z, color):
    rise = min(1.0, max(0.0, y) ** 0.6)
    cloud = 0.0
    if y > 0.01 and sky[6] > 0.05:
        at = rough(x / (y + 0.12) * 0.9, z / (y + 0.12) * 0.9, int(sky[7]))
        cloud = min(1.0, max(0.0, (at - 0.72 + 0.4 * sky[6]) * 3.0)) * min(1.0, y * 6)
    bright = max(sky[3], max(sky[4], sky[5])) * 1.05
    for axis in range(3):
        base = sky[3 + axis] + rise * (sky[axis] - sky[3 + axis])
        color[axis] = base + cloud * (bright - base)


@compiled
def _draw(
    axes, eye, focal, center_x, center_y, turn, room, floor, wall, ceiling, panels, blocks, sky,
    lamps, softness, shadow_depth, shadow_view, contact, photo, has_photo, out,
):  # fmt: skip
    height, width = out.shape[:2]
    color, normal = np.zeros(3), np.zeros(3)
    # The room's own frame, turned about y.
    cos, sin = turn[0], turn[1]
    eye_x, eye_z = cos * eye[0] + sin * eye[2] - room[3], -sin * eye[0] + cos * eye[2] - room[4]
    for row in range(height):
        for column in range(width):
            across, down = (column + 0.5 - center_x) / focal, (row + 0.5 - center_y) / focal
            dx = axes[0, 0] * across + axes[1, 0] * down + axes[2, 0]
            dy = axes[0, 1] * across + axes[1, 1] * down + axes[2, 1]
            dz = axes[0, 2] * across + axes[1, 2] * down + axes[2, 2]
            rx, rz = cos * dx + sin * dz, -sin * dx + cos * dz
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            best, kind, index = 1e9, -1, -1  # 0 floor, 1 ceiling, 2.. walls, 10 block
            if dy < -1e-6:
                best, kind = -eye[1] / dy, 0
            if room[0] > 0.0:
                if dy > 1e-6:
                    best, kind = (room[1] - eye[1]) / dy, 1
                t = (room[0] - eye_x) / rx if rx > 1e-9 else ((-room[0] - eye_x) / rx if rx < -1e-9 else 1e9)
                if t < best:
                    best, kind = t, 2 if rx > 0 else 4
                t = (room[2] - eye_z) / rz if rz > 1e-9 else ((-room[2] - eye_z) / rz if rz < -1e-9 else 1e9)
                if t < best:
                    best, kind = t, 3 if rz > 0 else 5
            side = 0
            for k in range(len(blocks)):
                if blocks[k, 3] == 0.0:  # a tree: a sphere on a trunk, ragged at its edge
                    top, radius = blocks[k, 4], blocks[k, 2]
                    ox, oz = eye[0] - blocks[k, 0], eye[2] - blocks[k, 1]
                    flat = dx * dx + dz * dz
                    t = -(ox * dx + oz * dz) / (flat + 1e-9)
                    if t <= 0.0 or t >= best:
                        continue
                    px, pz, y = ox + t * dx, oz + t * dz, eye[1] + t * dy
                    away = np.sqrt(px * px + pz * pz)
                    off = away * (1.0 if px * dz - pz * dx > 0 else -1.0)
                    if y < 0.0:
                        continue
                    high = (y - 0.62 * top) / (0.4 * top)
                    rag = 0.7 + 0.6 * rough(off * 2.2 + 50, y * 2.2, int(blocks[k, 7]))
                    crown = (away / radius) ** 2 + high * high < rag * rag * 0.8
                    if crown or (away < 0.06 * radius + 0.06 and y < 0.6 * top):
                        best, kind, index, side = t, 11 if crown else 12, k, 0
                    continue
                near, far, axis = 0.0, best, -1
                bx, bz = cos * blocks[k, 0] + sin * blocks[k, 1], -sin * blocks[k, 0] + cos * blocks[k, 1]
                t0, t1 = (
                    (bx - blocks[k, 2] - eye_x) / (rx + 1e-12),
                    (bx + blocks[k, 2] - eye_x) / (rx + 1e-12),
                )
                low, high = min(t0, t1), max(t0, t1)
                if low > near:
                    near, axis = low, 0
                far = min(far, high)
                t0, t1 = (
                    (bz - blocks[k, 3] - eye_z) / (rz + 1e-12),
                    (bz + blocks[k, 3] - eye_z) / (rz + 1e-12),
                )
                low, high = min(t0, t1), max(t0, t1)
                if low > near:
                    near, axis = low, 2
                far = min(far, high)
                t0, t1 = -eye[1] / (dy + 1e-12), (blocks[k, 4] - eye[1]) / (dy + 1e-12)
                low, high = min(t0, t1), max(t0, t1)
                if low > near:
                    near, axis = low, 1
                far = min(far, high)
                if axis >= 0 and near < far and near < best:
                    best, kind, index, side = near, 10, k, axis
            if kind < 0 or best > 400.0:
                _sky(sky, dx / length, dy / length, dz / length, color)
                if has_photo:
                    for axis in range(3):
                        color[axis] = photo[row, column, axis]
                for axis in range(3):
                    out[row, column, axis] = color[axis]
                continue
            wx, wy, wz = eye[0] + best * dx, eye[1] + best * dy, eye[2] + best * dz
            px, pz = eye_x + best * rx, eye_z + best * rz
            fine = best / focal
            normal[0] = normal[1] = normal[2] = 0.0
            corner, glow = 1.0, 0.0
            if kind == 0:
                normal[1] = 1.0
                _texture(floor, px, pz, fine * length / (abs(dy) + 0.05), color)
                if room[0] > 0.0:
                    corner = min(1.0, 0.65 + 0.9 * min(room[0] - abs(px), room[2] - abs(pz)))
            elif kind == 1:
                normal[1] = -1.0
                _texture(ceiling, px, pz, fine, color)
            elif kind < 6:
                if kind == 2 or kind == 4:
                    along = pz
                    normal[0], normal[2] = (-cos, -sin) if kind == 2 else (cos, sin)
                else:
                    along = px
                    normal[0], normal[2] = (sin, -cos) if kind == 3 else (-sin, cos)
                chosen = -1
                for k in range(len(panels)):
                    if (
                        int(panels[k, 0]) == kind - 2
                        and panels[k, 1] < along < panels[k, 2]
                        and panels[k, 3] < wy < panels[k, 4]
                    ):
                        chosen = k
                if chosen >= 0:
                    _texture(
                        panels[chosen, 5:], along - panels[chosen, 1], wy - panels[chosen, 3], fine, color
                    )
                    if int(panels[chosen, 5]) == 14:
                        glow = 0.6
                    frame = min(
                        min(along - panels[chosen, 1], panels[chosen, 2] - along),
                        min(wy - panels[chosen, 3], panels[chosen, 4] - wy),
                    )
                    if frame < 0.03:
                        for axis in range(3):
                            color[axis] *= 0.4
                else:
                    _texture(wall, along, wy, fine, color)
                    if wy < 0.09 and int(wall[0]) < 6:
                        for axis in range(3):
                            color[axis] = 0.5 * color[axis] + 0.2
                corner = min(1.0, 0.7 + 0.8 * wy)
            elif kind == 10:
                if side == 1:
                    normal[1] = 1.0
                    _texture(blocks[index, 5:], 0.0, 0.0, 9.0, color)
                elif side == 0:
                    normal[0], normal[2] = (-cos, -sin) if rx > 0 else (cos, sin)
                    _texture(blocks[index, 5:], pz, wy, fine, color)
                else:
                    normal[0], normal[2] = (sin, -cos) if rz > 0 else (-sin, cos)
                    _texture(blocks[index, 5:], px, wy, fine, color)
            else:
                normal[1] = 0.5
                normal[0], normal[2] = -0.6 * dx / length, -0.6 * dz / length
                leaf = rough(wx * 3.0, wy * 3.0 + wz * 2.0, int(blocks[index, 7]) + 5)
                for axis in range(3):
                    base = blocks[index, 8 + axis]
                    color[axis] = base + leaf * (blocks[index, 11 + axis] - base)
                    if kind == 12:
                        color[axis] = 0.06 - 0.012 * axis
            facing = normal[0] * lamps[0, 0] + normal[1] * lamps[0, 1] + normal[2] * lamps[0, 2]
            shadow = 1.0
            hidden = 1.0
            if kind == 0 or (room[0] > 0.0 and kind < 6):
                shadow = lit(wx, wy, wz, shadow_depth, shadow_view, softness, 0.03)
            if kind == 0:
                gx, gz = (wx + 4.0) * 16.0, (wz + 4.0) * 16.0
                ix, iz = int(np.floor(gx)), int(np.floor(gz))
                if 0 <= ix < 127 and 0 <= iz < 127:
                    fx, fz = gx - ix, gz - iz
                    dark = (1 - fz) * ((1 - fx) * contact[iz, ix] + fx * contact[iz, ix + 1]) + fz * (
                        (1 - fx) * contact[iz + 1, ix] + fx * contact[iz + 1, ix + 1]
                    )
                    hidden = 1.0 - dark
            direct = max(0.0, facing) * shadow
            sky_share = 0.5 + 0.5 * normal[1]
            haze = 1.0 - np.exp(-best * length * 0.0025) if room[0] == 0.0 else 0.0
            for axis in range(3):
                ambient = lamps[3, axis] + sky_share * (lamps[2, axis] - lamps[3, axis])
                light = ambient * hidden * corner + lamps[1, axis] * direct + glow
                value = color[axis] * light
                if has_photo:
                    whole = ambient + lamps[1, axis] * max(0.0, facing)
                    value = photo[row, column, axis]
                    if kind == 0:
                        value *= 0.25 + 0.75 * (ambient * hidden + lamps[1, axis] * direct) / (whole + 1e-6)
                elif haze > 0.0:
                    value += haze * (sky[3 + axis] - value)
                out[row, column, axis] = value
