"""What packed files unfold to, told before memory is taken for it."""

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
    packed = min(path.stat().st_size, sum(member.compress_size for member in members))
    check_unfolding("zip", sum(member.file_size for member in members), packed)
