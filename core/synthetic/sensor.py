"""From light to a file: motion blur, exposure, white balance, noise, and JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from alignhmr.core.synthetic.domains import Domain
from alignhmr.core.synthetic.shading import to_srgb


@dataclass(frozen=True)
class Sensor:
    """One camera's settings for one picture."""

    blur_px: float
    blur_angle_rad: float
    people_blur_px: float
    """Motion of the people alone."""
    focus_px: float
    """Standard deviation of the defocus."""
    exposure: float
    gains: tuple[float, float, float]
    noise: float
    vignette: float
    quality: int

    @classmethod
    def draw(cls, rng: np.random.Generator, domain: Domain, size_px: int, dark: bool) -> "Sensor":
        moving = rng.random() < domain.motion_blur
        scale = size_px / 256
        balance = 1 + rng.normal(0, domain.white_balance, 3)
        return cls(
            blur_px=float(rng.uniform(1.0, 4.0)) * scale if moving and rng.random() < 0.5 else 0.0,
            blur_angle_rad=float(rng.uniform(0, np.pi)),
            people_blur_px=float(rng.uniform(1.5, 5.0)) * scale if moving else 0.0,
            focus_px=float(max(0.0, rng.normal(0.3, 0.35)))
            * scale
            * (0.0 if domain.motion_blur == 0 else 1.0),
            exposure=float(np.exp(rng.normal(0.0, 0.12 + 0.18 * (domain.motion_blur > 0)))),
            gains=tuple(float(g) for g in np.clip(balance / balance[1], 0.6, 1.6)),  # pyright: ignore
            noise=float(rng.uniform(*domain.noise)) * (1.8 if dark else 1.0),
            vignette=float(rng.uniform(0, 0.35)),
            quality=int(rng.integers(domain.jpeg_quality[0], domain.jpeg_quality[1] + 1)),
        )


def develop(
    background: Float32[np.ndarray, "height width 3"],
    layer: Float32[np.ndarray, "height width 4"],
    sensor: Sensor,
    rng: np.random.Generator,
    dark: bool,
) -> bytes:
    """JPEG bytes of the layer over the background (both linear)."""
    if sensor.people_blur_px > 1:
        layer = _streak(layer, sensor.people_blur_px, sensor.blur_angle_rad)
    light = layer[..., :3] + background * (1 - layer[..., 3:])
    if sensor.blur_px > 1:
        light = _streak(light, sensor.blur_px, sensor.blur_angle_rad)
    if sensor.focus_px > 0.3:
        light = cv2.GaussianBlur(light, (0, 0), sensor.focus_px)
    height, width = light.shape[:2]
    # As a camera's meter would: the picture's mean is brought towards mid-grey, all the way only by day.
    mean = float(np.mean(light, dtype=np.float64))
    gain = sensor.exposure * (0.3 / max(mean, 1e-3)) ** (0.5 if dark else 0.85)
    y, x = np.mgrid[0:height, 0:width]
    away = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width**2 + height**2) * 4
    fall = (1 - sensor.vignette * 0.5 * away).astype(np.float32)
    light = light * (np.array(sensor.gains, np.float32) * np.float32(gain)) * fall[..., None]
    light = np.where(
        light > 0.6, 0.6 + 0.4 * (1 - np.exp(-(light - 0.6) / 0.4)), light
    )  # a shoulder, not a cliff
    pixels = to_srgb(light)
    strength = sensor.noise * (0.5 + 0.7 * np.sqrt(np.clip(light, 0.0, 1.0)))
    grain = rng.standard_normal((height, width, 1)) * 0.7 + rng.standard_normal((height, width, 3)) * 0.6
    pixels = np.clip(np.rint(pixels + strength * grain), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, sensor.quality])[1].tobytes()


def _streak(picture: np.ndarray, length_px: float, angle_rad: float) -> np.ndarray:
    """Blurred along a line that is centred on each pixel, so that nothing moves."""
    reach = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-length_px / 2, length_px / 2, 8 * reach + 1):
        x, y = reach + t * np.cos(angle_rad), reach + t * np.sin(angle_rad)
        ix, iy = int(np.floor(x)), int(np.floor(y))
        for a, b in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = (1 - abs(x - ix - a)) * (1 - abs(y - iy - b))
            kernel[iy + b, ix + a] += weight
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
