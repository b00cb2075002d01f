"""Random colours, fabrics and outfits."""

import colorsys
import dataclasses

import numpy as np

from softgate_ext.data.synthetic.paint import Colour, Fabric, Face

_SKINS = (
    (244, 208, 177), (231, 184, 147), (208, 154, 113), (172, 118, 80), (124, 80, 54), (82, 52, 38),
)  # fmt: skip
_HAIRS = (
    (28, 22, 20), (60, 40, 26), (106, 70, 40), (196, 156, 92), (158, 70, 34), (46, 44, 48),
)  # fmt: skip
_PATTERNS = {"plain": 0.56, "rings": 0.16, "lines": 0.1, "checks": 0.1, "dots": 0.08}


@dataclasses.dataclass(frozen=True)
class Outfit:
    """The clothes, skin and hair of a person.

    Attributes:
        skin, shirt, trousers, shoes: their fabrics.
        face: skin and hair of the head.
        sleeves: number of covered segments of the arm: 0 none, 1 the upper arm, 2 both.
        legs: number of covered segments of the leg.
        badge: a print on the chest, or None.
    """

    skin: Fabric
    shirt: Fabric
    trousers: Fabric
    shoes: Fabric
    face: Face
    sleeves: float
    legs: float
    badge: Fabric | None


def random_colour(rng: np.random.Generator) -> Colour:
    """A random RGB colour, 0 to 255, of any hue, rarely very dark."""
    hue, saturation, value = rng.random(), rng.beta(1.5, 1.8), 0.12 + 0.88 * rng.beta(2.0, 1.4)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def random_fabric(rng: np.random.Generator, height: float) -> Fabric:
    """A random plain or patterned fabric for a person of this height in pixels."""
    pattern = str(rng.choice(tuple(_PATTERNS), p=tuple(_PATTERNS.values())))
    return Fabric(random_colour(rng), random_colour(rng), pattern, height * rng.uniform(0.03, 0.08))


def random_outfit(rng: np.random.Generator, height: float) -> Outfit:
    """Random clothes, skin and hair for a person of this height in pixels."""
    darker = int(rng.integers(1, len(_SKINS)))
    skin = _mix(_SKINS[darker - 1], _SKINS[darker], rng.random())
    hair = _mix((0, 0, 0), _HAIRS[rng.integers(len(_HAIRS))], rng.uniform(0.75, 1.15))
    return Outfit(
        skin=Fabric(skin),
        shirt=random_fabric(rng, height),
        trousers=random_fabric(rng, height),
        shoes=Fabric(random_colour(rng)),
        face=Face(skin, hair, float(rng.uniform(0.4, 0.7))),
        sleeves=float(rng.choice((0.0, 0.55, 0.8, 2.0), p=(0.15, 0.4, 0.15, 0.3))),
        legs=float(rng.choice((0.35, 0.75, 1.4, 2.0), p=(0.15, 0.3, 0.1, 0.45))),
        badge=Fabric(random_colour(rng)) if rng.random() < 0.45 else None,
    )


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue
