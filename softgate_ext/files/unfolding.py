"""What packed files, and files with holes, unfold to, told before memory is taken for it."""

import errno
import os
import zipfile
from pathlib import Path

# Numbers as text are a tenth when they are packed, and nothing can be less than a thousandth.
ROOM = 1 << 26  # bytes that a packed file may unfold to, however small it is
MOST = 200  # times its size that it may unfold to beyond that


def check_unfolding(kind: str, unfolded: int, packed: int) -> None:
    """Looks whether something unfolds to what it is likely to hold.

    Args:
        kind: what it is, for the message.
        unfolded: bytes, so far or in all.
        packed: bytes that these are packed in.

    Raises:
        ValueError: it is a bomb.
    """
    if unfolded > max(ROOM, MOST * packed):
        raise ValueError(f"it is a {kind} bomb, which unfolds to more than {MOST} times its size")


def stored_size(path: Path) -> int:
    """Bytes of a file but for its holes, which take no room on the disk; small ones count as stored.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size <= ROOM or not hasattr(os, "SEEK_DATA"):  # Windows has no such holes
        return size
    stored = at = 0
    with open(path, "rb") as file:
        try:
            while at < size:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
                stored, at = stored + end - at, end
        except OSError as error:
            if error.errno != errno.ENXIO:  # what a hole at the end is told by
                return size
    return stored


def check_holes(path: Path) -> None:
    """Looks whether a file that is read as a whole holds more than holes.

    Raises:
        ValueError: it is a bomb.
        OSError: it cannot be read.
    """
    check_unfolding("sparse file", path.stat().st_size, stored_size(path))


def check_zip(path: Path) -> None:
    """Looks whether the members of a zip archive are likely to be what they are packed in.

    Their sizes are those of the archive's directory, beyond which no reader reads. What is no zip
    archive passes: whoever reads it says so.

    Raises:
        ValueError: it is a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return
    # Members may share their bytes, so that their sizes add up to more than the archive has.
    packed = min(stored_size(path), sum(member.compress_size for member in members))
    check_unfolding("zip", sum(member.file_size for member in members), packed)
