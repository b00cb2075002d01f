"""Videos are read and written with each frame upright and at its own time."""

import socket
import struct
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from softgate_ext.errors import InputError
from softgate_ext.prediction.video import CameraReader, Frame, VideoReader, VideoWriter

av = pytest.importorskip("av", reason="needs PyAV: pip install av")
TIMES = (0.0, 0.1, 0.15, 1.0, 1.8)  # of a telephone that saves where nothing moves
CORNERS = np.zeros((60, 80, 3), np.uint8)  # red above, green at the left
CORNERS[:20, :, 0], CORNERS[:, :20, 1] = 250, 250


def encode(path: Path, times: Sequence[float], start: float = 0.0, codec: str = "mpeg4") -> Path:
    """A video of frames at these times, made without our writer."""
    codec = {".wmv": "wmv2", ".flv": "flv"}.get(path.suffix, codec)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 30)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for seconds in times:
            frame = av.VideoFrame.from_ndarray(CORNERS, format="rgb24")
            frame.pts, frame.time_base = round(1000 * (start + seconds)), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames(path: Path) -> list[Frame]:
    reader = VideoReader(path)
    try:
        return list(reader)
    finally:
        reader.close()


def written(path: Path, times: Sequence[float], picture: np.ndarray = CORNERS) -> Path:
    writer = VideoWriter(path, 2.5, *picture.shape[:2])
    for seconds in times:
        writer.write(Frame(picture, seconds))
    writer.close()
    return path


@pytest.mark.parametrize(
    "name", ["v.mp4", "v.mkv", "v.mov", "v.m4v", "v.ts", "v.wmv", "v.3gp", "v.flv"]
)
@pytest.mark.parametrize("start", [0.0, 10.0])
def test_times_are_those_of_the_container(tmp_path: Path, name: str, start: float) -> None:
    """They count from where a player starts, whatever the rate."""
    seen = frames(encode(tmp_path / name, TIMES, start))
    assert [frame.seconds for frame in seen] == pytest.approx(TIMES, abs=2e-3)


@pytest.mark.parametrize("name", ["v.mkv", "v.ts"])
@pytest.mark.parametrize("count", [1, 3])
def test_few_frames_count_from_the_first_where_the_container_is_silent(
    tmp_path: Path, name: str, count: int
) -> None:
    seen = frames(encode(tmp_path / name, TIMES[:count], 10.0, "libx264"))
    assert [frame.seconds for frame in seen] == pytest.approx(TIMES[:count], abs=2e-3)


@pytest.mark.parametrize("rate", [1 / 3600, 0.5, 12.0, 29.97, 240.0])
def test_a_steady_rate_is_told(tmp_path: Path, rate: float) -> None:
    times = [number / rate for number in range(5)]
    writer = VideoWriter(tmp_path / "v.mp4", rate, 60, 80)
    for seconds in times:
        writer.write(Frame(CORNERS, seconds))
    writer.close()
    reader = VideoReader(tmp_path / "v.mp4")
    assert reader.rate == pytest.approx(rate, rel=1e-3)
    assert [frame.seconds for frame in reader] == pytest.approx(times, abs=1e-4)
    reader.close()


def test_a_stream_without_times_has_those_of_its_rate(tmp_path: Path) -> None:
    stream = encode(tmp_path / "v.h264", [n / 30 for n in range(5)], codec="libx264")
    reader = VideoReader(stream)
    times = [frame.seconds for frame in reader]
    assert len(times) == 5
    assert times == pytest.approx([number / reader.rate for number in range(5)], abs=1e-3)
    reader.close()


MATRICES = {
    90: (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    180: (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    270: (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
}


@pytest.mark.parametrize("turned", MATRICES)
def test_a_telephone_held_upright(tmp_path: Path, turned: int) -> None:
    """The file says how far its frames are to be turned, clockwise."""
    data = bytearray(written(tmp_path / "v.mp4", TIMES).read_bytes())
    matrix = data.index(b"tkhd") + 44  # behind the version, five times and numbers, and the layer
    assert struct.unpack(">9i", data[matrix : matrix + 36])[::4] == (65536, 65536, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *MATRICES[turned])
    (tmp_path / "v.mp4").write_bytes(data)
    for frame in frames(tmp_path / "v.mp4"):
        expected = np.rot90(CORNERS, -turned // 90)
        assert frame.picture.shape == expected.shape and frame.picture.flags.c_contiguous
        assert np.abs(frame.picture.astype(int) - expected).mean() < 8


def test_what_is_written_is_h264_at_the_times_given(tmp_path: Path) -> None:
    path = written(tmp_path / "v.mp4", TIMES)
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert 1.8 < container.duration / 1e6 < 2.5  # a player shows the last frame too
    seen = frames(path)
    assert [frame.seconds for frame in seen] == pytest.approx(TIMES, abs=1e-4)
    assert all(np.abs(f.picture.astype(int) - CORNERS).mean() < 8 for f in seen)


def test_odd_sides_are_written_a_pixel_larger(tmp_path: Path) -> None:
    for height, width in ((59, 79), (1, 1), (3, 80)):
        picture = np.full((height, width, 3), 200, np.uint8)
        (frame,) = frames(written(tmp_path / f"{height}.mp4", [0.0], picture))
        assert frame.picture.shape == (height + height % 2, width + width % 2, 3)
        assert abs(int(frame.picture.mean()) - 200) < 6


def test_what_changes_its_size_or_goes_back_in_time_is_written(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "v.mp4", 25, 60, 80)
    for picture, seconds in (
        (CORNERS, 0.0),
        (CORNERS[:20, :31], 0.5),
        (CORNERS, 0.5),
        (CORNERS, 0),
    ):
        writer.write(Frame(picture, seconds))
    writer.close()
    writer.close()
    seen = frames(tmp_path / "v.mp4")
    assert [f.seconds for f in seen] == pytest.approx([0, 0.5, 0.5, 0.5], abs=1e-4)
    assert {f.picture.shape for f in seen} == {(60, 80, 3)}


def test_a_video_that_is_cut_short_or_damaged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What can be read is; FFmpeg says nothing of its own."""
    whole = encode(tmp_path / "v.mkv", [n / 30 for n in range(60)]).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert 10 < len(frames(tmp_path / "cut.mkv")) < 60
    damaged, random = bytearray(whole), np.random.default_rng(0)
    for place in random.integers(2000, len(whole), 40):
        damaged[place] = random.integers(256)
    (tmp_path / "damaged.mkv").write_bytes(damaged)
    assert 10 < len(frames(tmp_path / "damaged.mkv")) <= 60
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "codec"), [("v.ts", "libx264"), ("v.ts", "mpeg4"), ("v.flv", "flv")]
)
def test_a_stream_that_is_cut_short_says_so(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, [n / 30 for n in range(60)], codec=codec)
    whole = path.read_bytes()
    for data, cut in ((whole, False), (whole[: len(whole) // 2 // 188 * 188 + 94], True)):
        path.write_bytes(data)
        reader = VideoReader(path)
        assert not reader.cut and list(reader)
        reader.close()
        assert reader.cut == cut


@pytest.mark.parametrize("data", [b"", b"no video", bytes(5000), b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_video(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "v.mp4").write_bytes(data)
    sentence = r"video .*v\.mp4 (is not a video|holds no frame) that can be read"
    with pytest.raises(InputError, match=sentence):
        frames(tmp_path / "v.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("aac", 44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="is not a video that can be read"):
        frames(tmp_path / "v.mp4")


def test_a_list_of_addresses_is_not_fetched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.5)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v.ts"
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
        (tmp_path / "v.mp4").write_text(text)
        with pytest.raises(InputError, match="video"):
            frames(tmp_path / "v.mp4")
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file in this folder, though FFmpeg takes such words for protocols."""
    monkeypatch.chdir(tmp_path)
    for name in ("concat:v.mp4", "pipe:0.mp4", "http:v.mp4", "%03d.mp4"):
        assert len(frames(written(Path(name), TIMES))) == len(TIMES)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out: cannot write the video v\.mp4 of 80 x 60 pixels"):
        VideoWriter(tmp_path / "absent" / "v.mp4", 25, 60, 80)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="video: PyAV is not installed; pip install av"):
        VideoReader(tmp_path / "v.mp4")


def test_a_cameras_times_are_when_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.25, 101.0])

    class Camera:
        left = 3

        def __init__(self, number: int) -> None: ...

        def isOpened(self) -> bool:
            return True

        def get(self, what: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, np.ndarray]:
            self.left -= 1
            return self.left >= 0, CORNERS[..., ::-1]

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr("softgate_ext.prediction.video.time.monotonic", lambda: next(clock))
    reader = CameraReader(0)
    seen = list(reader)
    assert reader.rate == 25.0 and [frame.seconds for frame in seen] == [0.0, 0.25, 1.0]
    assert all(np.array_equal(frame.picture, CORNERS) for frame in seen)
    monkeypatch.setattr(Camera, "left", 0)
    with pytest.raises(InputError, match="camera 0 gives no frame"):
        list(CameraReader(0))


LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 26\n",
}


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("name", ["v.mp4", "v.m3u8", "v.ffconcat", "v.sdp"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, form: str, name: str) -> None:
    other = encode(tmp_path / "other.ts", TIMES)
    (tmp_path / name).write_text(LISTS[form].format(name=other.name))
    with pytest.raises(InputError, match="is not a video that can be read"):
        frames(tmp_path / name)


def test_frames_of_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file says so at its beginning or only a frame does."""
    small = encode(tmp_path / "v.h264", TIMES, codec="libx264")
    large = tmp_path / "w.h264"
    with av.open(str(large), "w") as container:
        stream = container.add_stream("libx264", 30)
        stream.width, stream.height, stream.pix_fmt = 200, 200, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.zeros((200, 200, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(grey), *stream.encode()])
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert len(frames(both)) == len(TIMES) + 1
    monkeypatch.setattr("softgate_ext.prediction.video.MOST_PIXELS", 10_000)
    assert {frame.picture.shape for frame in frames(both)} == {(60, 80, 3)}
    with pytest.raises(InputError, match=r"frames of 200 x 200 pixels; takes up to 0 megapixels"):
        frames(large)
