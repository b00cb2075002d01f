"""The kind of a file is found from its content, whatever its name is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, features

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.prediction import kinds
from softgate_ext.prediction.kinds import kind_of

av = pytest.importorskip("av", reason="needs PyAV: pip install av")
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
STILLS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "MPO", "AVIF"]
NAMES = ["plain", "photo.jpg", "photo.gif", "photo.mp4", "photo.txt"]


def save(path: Path, kind: str, pictures: int = 1, **options: Any) -> Path:
    for name, feature in (("AVIF", "avif"), ("WEBP", "webp"), ("JPEG2000", "jpg_2000")):
        if kind == name and not features.check(feature):
            pytest.skip(f"Pillow is built without {name}")
    first, *more = (Image.new("RGB", (40, 30), colour) for colour in COLOURS[:pictures])
    if more or kind == "MPO":
        options |= {"save_all": True, "append_images": more}
    first.save(path, kind, **options)
    return path


def film(path: Path, form: str, codec: str) -> Path:
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for number in range(5):
            picture = np.full((144, 176, 3), 40 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("kind", STILLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_any_name(tmp_path: Path, kind: str, name: str) -> None:
    path = save(tmp_path / name, kind)
    assert kind_of(path) == "picture"
    assert np.abs(read_image(path).astype(int) - COLOURS[0]).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("name", NAMES)
def test_an_animation_of_any_name(tmp_path: Path, kind: str, name: str) -> None:
    assert kind_of(save(tmp_path / name, kind, 3, duration=100)) == "animation"


@pytest.mark.parametrize("kind", ["MPO", "TIFF"])
def test_further_pictures_of_a_file_are_no_animation(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "several", kind, 3)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) > 1
    assert kind_of(path) == "picture"


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "mpeg4"),
        ("asf", "wmv2"),  # .wmv
        ("3gp", "mpeg4"),
        ("mpegts", "mpeg2video"),  # .ts
        ("flv", "flv"),
        ("matroska", "mpeg4"),
        ("avi", "mpeg4"),
    ],
)
@pytest.mark.parametrize("name", ["film", "film.jpg", "film.ts", "film.wmv", "film.txt"])
def test_a_video_of_any_name(tmp_path: Path, form: str, codec: str, name: str) -> None:
    assert kind_of(film(tmp_path / name, form, codec)) == "video"


def test_a_programme_stream_without_a_name_for_it(tmp_path: Path) -> None:
    assert kind_of(film(tmp_path / "film", "mpeg", "mpeg2video")) == "video"


def test_what_is_neither_is_what_it_is_called(tmp_path: Path) -> None:
    """So that a sentence says of a photo that is damaged that it is."""
    noise = np.random.default_rng(0).integers(0, 256, 9000, np.uint8).tobytes()
    for data in (b"", b"plain text", b'{"images": []}', bytes(9000), noise, b"\x89PNG\r\n\x1a\n"):
        for name, kind in (("a", None), ("a.json", None), ("a.JPG", "picture"), ("a.mp4", "video")):
            (tmp_path / name).write_bytes(data)
            assert kind_of(tmp_path / name) == kind, (data[:9], name)
    assert kind_of(tmp_path / "absent.png") == "picture"


def test_a_cover_of_music_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.flac"), "w") as container:
        sound, cover = container.add_stream("flac", 44100), container.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 40, 30, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((30, 40, 3), np.uint8), format="rgb24")
        packets = [*cover.encode(picture), *cover.encode()]
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.int16), "s16", "mono")
        wave.sample_rate = 44100
        container.mux([*packets, *sound.encode(wave), *sound.encode()])
    with av.open(str(tmp_path / "song.flac")) as container:
        assert len(container.streams.video) == 1
    assert kind_of(tmp_path / "song.flac") is None


def test_a_telephones_heic_is_a_picture(tmp_path: Path) -> None:
    """Which costs a sentence where Pillow cannot read it, and is no video of one frame."""
    (tmp_path / "IMG").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(5000))
    assert kind_of(tmp_path / "IMG") == "picture"
    with pytest.raises(InputError, match="is not a picture that can be read"):
        read_image(tmp_path / "IMG")


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("it was run"))
    for name in ("a.eps", "a.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "EPS")
        with pytest.raises(InputError, match="is not a picture that can be read"):
            read_image(tmp_path / name)
    assert kind_of(tmp_path / "a.eps") is None


def test_most_files_are_known_by_their_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may hold ten thousand; only what may be a video is opened as one."""

    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("it was opened")

    (tmp_path / "a.json").write_text("[]")
    monkeypatch.setattr(kinds, "VideoReader", fail)
    assert kind_of(tmp_path / "a.json") is None
    stills = [save(tmp_path / kind, kind) for kind in ("JPEG", "TIFF", "WEBP", "MPO")]
    monkeypatch.setattr(Image, "open", fail)
    assert {kind_of(path) for path in stills} == {"picture"}
