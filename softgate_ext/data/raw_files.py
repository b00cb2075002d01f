"""Recognition of cameras' raw files. Most look like a TIFF whose first image is a small preview."""

import re

from PIL import Image

HEAD = 16
"""The number of first bytes that `is_raw` needs."""

CONVERT = "convert raw files of cameras (CR2, NEF, DNG ...) to JPEG, PNG or TIFF"

# The first bytes of Canon's CR2, CR3 and CRW, Olympus's ORF, Panasonic's RW2, Fujifilm's RAF, Minolta's
# MRW and Sigma's X3F.
_STARTS = re.compile(
    rb"(?:II\*\0|MM\0\*)....CR|....ftypcrx |II....HEAPCCDR|IIR[OS]|MMOR|IIU\0|FUJIFILMCCD-RAW|\0MRM|FOVb",
    re.DOTALL,
)
_SUFFIXES = frozenset(
    [
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".crw",
        ".dng",
        ".erf",
        ".iiq",
        ".kdc",
        ".mef",
        ".mos",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".rw2",
        ".rwl",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
    ]
)
# TIFF tags: kind of the image (1 for a preview), colour space (mosaic of a sensor, or linear), further
# images, version of DNG.
_KIND, _COLOURS, _FURTHER, _DNG = 254, 262, 330, 50706
_OF_SENSORS = (32803, 34892)


def is_raw(head: bytes, image: Image.Image | None = None, suffix: str = "") -> bool:
    """Whether a file is a camera's raw file.

    Args:
        head: its first `HEAD` bytes.
        image: the image that Pillow opened, or None if it could not. A file that Pillow opens in a
            format other than TIFF, such as a JPEG named .dng, is not raw.
        suffix: the suffix of its name.
    """
    if _STARTS.match(head):
        return True
    if image is None or image.format != "TIFF":
        return image is None and suffix.lower() in _SUFFIXES
    tags = image.tag_v2  # type: ignore[attr-defined]
    preview = bool(int(tags.get(_KIND, 0)) & 1) and _FURTHER in tags
    sensor = tags.get(_COLOURS) in _OF_SENSORS
    return _DNG in tags or preview or sensor or suffix.lower() in _SUFFIXES
