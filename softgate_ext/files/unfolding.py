"""Protection against zip and gzip bombs and files of holes: sizes are checked before memory is used."""

import errno
import os
import zipfile
from pathlib import Path

# Numbers as text are packed to about a tenth. The formats cannot pack to less than a thousandth.
ROOM = 1 << 26  # bytes that any packed file may unpack to
MOST = 200  # beyond ROOM, the largest ratio of unpacked to packed size


def check_unfolding(kind: str, unfolded: int, packed: int) -> None:
    """Checks the ratio of unpacked to packed size.

    Args:
        kind: the kind of file, for the message.
        unfolded: unpacked bytes, so far or in all.
        packed: the packed bytes that they came from.

    Raises:
        ValueError: the ratio is that of a bomb.
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
    """Checks the sizes of the members of a zip archive.

    The sizes are read from the archive's directory; readers do not read beyond them. A file that is
    not a zip archive passes, because reading it will give the error.

    Raises:
        ValueError: the archive is a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return
    # Members may share bytes, so that their packed sizes add up to more than the archive's.
    packed = min(stored_size(path), sum(member.compress_size for member in members))
    check_unfolding("zip", sum(member.file_size for member in members), packed)
