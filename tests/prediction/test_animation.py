"""Animated images, with each frame at its own time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from softgate_ext.errors import InputError
from softgate_ext.prediction.animation import AnimationReader
from softgate_ext.prediction.video import Frame

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (99, 99, 99))
DURATIONS = [100, 50, 850, 800]  # milliseconds


def save(path: Path, durations: list[int] | None = DURATIONS, **options: Any) -> Path:
    if path.suffix in (".webp", ".avif") and not features.check(path.suffix[1:]):
        pytest.skip(f"Pillow is built without {path.suffix}")
    first, *more = (Image.new("RGB", (40, 30), colour) for colour in COLOURS)
    if durations is not None:
        options["duration"] = durations
    first.save(path, save_all=True, append_images=more, **options)
    return path


def frames(path: Path) -> list[Frame]:
    reader = AnimationReader(path)
    try:
        return list(reader)
    finally:
        reader.close()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.avif"])
def test_all_frames_at_their_times(tmp_path: Path, name: str) -> None:
    seen = frames(save(tmp_path / name))
    assert [frame.seconds for frame in seen] == pytest.approx([0.0, 0.1, 0.15, 1.0])
    for frame, colour in zip(seen, COLOURS, strict=True):
        assert frame.picture.shape == (30, 40, 3) and frame.picture.dtype == np.uint8
        assert np.abs(frame.picture.astype(int) - colour).max() < 12
    reader = AnimationReader(tmp_path / name)
    assert reader.rate == pytest.approx(10)
    assert list(reader) and not reader.cut
    reader.close()


@pytest.mark.parametrize("durations", [None, [0, 0, 0, 0]])
def test_frames_without_a_duration_have_that_of_browsers(
    tmp_path: Path, durations: list[int] | None
) -> None:
    seen = frames(save(tmp_path / "a.gif", durations))
    assert [frame.seconds for frame in seen] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_the_picture_for_those_who_show_no_animation_is_no_frame(tmp_path: Path) -> None:
    seen = frames(save(tmp_path / "a.png", DURATIONS[1:], default_image=True))
    assert [frame.seconds for frame in seen] == pytest.approx([0.0, 0.05, 0.9])
    assert [tuple(frame.picture[0, 0]) for frame in seen] == list(COLOURS[1:])


def test_one_that_is_cut_short(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    assert 1 <= len(frames(path)) < 4
    for length in range(len(whole) // 2, len(whole)):  # the last byte is the mark of the end
        path.write_bytes(whole[:length])
        reader = AnimationReader(path)
        assert list(reader) and reader.cut, length
        reader.close()
    path.write_bytes(whole[:20])
    with pytest.raises(InputError, match=r"image .*a\.gif is damaged or cut short"):
        AnimationReader(path)
