"""Colours. What differs in class shares them on purpose: colour alone must not give a class away."""

from __future__ import annotations

from random import Random

from trainer.data.synthetic.canvas import Colour


def between(rng: Random, low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * rng.random()


def choose(rng: Random, count: int) -> int:
    """A whole number from 0 to ``count`` - 1."""
    return int(rng.random() * count)


def stone(rng: Random) -> Colour:
    """Asphalt, concrete, plaster, metal: any grey with a slight tint."""
    level = between(rng, 55, 175)
    return level * between(rng, 0.92, 1.1), level, level * between(rng, 0.88, 1.1)


def paint(rng: Random) -> Colour:
    """Any colour at all: cars, clothes, signs, some walls."""
    return between(rng, 20, 235), between(rng, 20, 235), between(rng, 20, 235)


def leaf(rng: Random) -> Colour:
    """Foliage and grass of any season."""
    green = between(rng, 45, 150)
    return green * between(rng, 0.5, 1.25), green, green * between(rng, 0.3, 0.75)


def wall(rng: Random) -> Colour:
    """A house: mostly stone, often brick, sometimes painted."""
    draw = rng.random()
    if draw < 0.45:
        return stone(rng)
    if draw < 0.75:
        level = between(rng, 70, 160)
        return level * between(rng, 1.1, 1.4), level * between(rng, 0.75, 1.0), level * between(rng, 0.5, 0.85)
    return paint(rng)


def cloth(rng: Random) -> Colour:
    """Clothes and car bodies: half of them grey."""
    return stone(rng) if rng.random() < 0.5 else paint(rng)


def sky(rng: Random) -> tuple[Colour, Colour]:
    """The sky at the top of the image and at the horizon: clear, overcast or at dusk."""
    draw = rng.random()
    if draw < 0.4:
        level = between(rng, 150, 235)
        high = level * between(rng, 0.35, 0.7), level * between(rng, 0.6, 0.8), level
        return high, (level * 0.85, level * 0.92, level)
    if draw < 0.8:
        level = between(rng, 105, 225)
        return (level, level, level * between(rng, 0.97, 1.08)), (level * 0.93, level * 0.93, level * 0.95)
    level = between(rng, 80, 150)
    return (level * 0.7, level * 0.75, level * 1.1), (level * 1.5, level * between(rng, 0.9, 1.2), level * 0.75)
