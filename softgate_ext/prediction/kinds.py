"""The kind of a file (image, animated image or video), decided by its content and not by its name."""

from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from softgate_ext.data.images import picture_formats
from softgate_ext.data.raw_files import is_raw
from softgate_ext.errors import InputError
from softgate_ext.files.paths import unusual
from softgate_ext.prediction.video import VideoReader

Kind = Literal["picture", "animation", "video"]
HEAD = 4096  # the first bytes of a file; in a video they contain a null byte, in a text they do not
STARTS = (b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")  # of JPEG, TIFF, JPEG 2000
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # several images in TIFF or MPO are pages, not frames
STILLS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1")  # MP4 brands of image formats
PICTURES = tuple(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".mpo",
        ".heic",
        ".heif",
    ]
)
VIDEOS = tuple(
    [".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".flv"]
)


def kind_of(path: Path) -> Kind | None:
    """The kind of a file, or None if neither its content nor its name is that of an image or a video.

    For a damaged or empty file, a named pipe and a device the name decides. Reading it then raises an
    error that says what is wrong.
    """
    if unusual(path):
        return _by_name(path)
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return _by_name(path)
    if _is_still(head) or is_raw(head):
        return "picture"
    try:
        with Image.open(path, formats=picture_formats()) as image:
            moves = image.format in ANIMATED and getattr(image, "is_animated", False)
            return "animation" if moves else "picture"
    except UnidentifiedImageError:
        pass
    except Exception:  # Pillow raises a dozen types for damaged files
        return "picture"
    if b"\0" in head:
        try:
            VideoReader(path, HEAD).close()
            return "video"
        except InputError:
            pass
    return _by_name(path)


def _is_still(head: bytes) -> bool:
    """Whether the first bytes show an image that is not animated.

    This is faster than Pillow, which reads some formats as a whole to answer.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return head[12:16] != b"VP8X" or not int.from_bytes(head[20:21]) & 2
    return head.startswith(STARTS) or (head[4:8] == b"ftyp" and head[8:12] in STILLS)


def _by_name(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    return "video" if suffix in VIDEOS else "picture" if suffix in PICTURES else None
