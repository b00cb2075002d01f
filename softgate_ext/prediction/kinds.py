"""Whether a file is a picture, an animated one, or a video: what it holds says so, not its name."""

from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from softgate_ext.data.images import picture_formats
from softgate_ext.data.raw_files import is_raw
from softgate_ext.errors import InputError
from softgate_ext.files.paths import unusual
from softgate_ext.prediction.video import VideoReader

Kind = Literal["picture", "animation", "video"]
HEAD = 4096  # bytes from the beginning; text has no null byte in them, and every video has
STARTS = (b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")  # of JPEG, TIFF, JPEG 2000
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # further pictures of TIFF and MPO are no frames
STILLS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1")  # brands, of what is built as MP4
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
    """What a file is; None where it neither holds nor is called a picture or a video.

    A damaged or empty file, a named pipe or a device is what it is called, so that whoever reads it says what is wrong.
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
    except Exception:  # what Pillow raises for a damaged file has a dozen types
        return "picture"
    if b"\0" in head:
        try:
            VideoReader(path, HEAD).close()
            return "video"
        except InputError:
            pass
    return _by_name(path)


def _is_still(head: bytes) -> bool:
    """Whether the first bytes alone tell: most files, and those that Pillow would read as a whole."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return head[12:16] != b"VP8X" or not int.from_bytes(head[20:21]) & 2
    return head.startswith(STARTS) or (head[4:8] == b"ftyp" and head[8:12] in STILLS)


def _by_name(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    return "video" if suffix in VIDEOS else "picture" if suffix in PICTURES else None
