"""The frames of animated GIF, WebP, PNG and AVIF files, with their times."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from softgate_ext.data.images import picture_formats, upright_rgb
from softgate_ext.errors import InputError, reason
from softgate_ext.prediction.video import Frame

UNSAID = 0.1  # seconds of a frame whose file says none: what browsers give it


class AnimationReader:
    """The frames of an animated picture one after the other, once, each as it is shown.

    Pillow reads all four formats; FFmpeg reads no animated WebP.

    Attributes:
        rate: frames a second, by the first of them.
        cut: whether the frames that were read to their end are not all that there were.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.cut = path, False
        try:
            self._image = Image.open(path, formats=picture_formats())
            # A picture before the first frame is for programs that show no animation.
            self._first = 1 if self._image.info.get("default_image") else 0
            self._image.seek(self._first)
            self._image.load()
        except Exception as error:  # what Pillow raises for a damaged file has a dozen types
            raise InputError(
                f"image {path} is damaged or cut short ({reason(error)}); it must be whole"
            ) from None
        self.rate = 1 / self._duration()

    def __iter__(self) -> Iterator[Frame]:
        """Until the end, or where it is cut short."""
        number, seconds = self._first, 0.0
        while True:
            try:
                self._image.seek(number)
                self._image.load()
                picture = upright_rgb(self._image, self.path)
            except EOFError:
                self.cut = self._has_more(number)
                return
            except Exception:  # what Pillow raises for a damaged file has a dozen types
                self.cut = True
                return
            yield Frame(picture, seconds)
            seconds += self._duration()
            number += 1

    def _has_more(self, number: int) -> bool:
        """Whether the file tells of more frames than `number`; a GIF ends with a mark of its own."""
        if self._image.format != "GIF":
            return number < getattr(self._image, "n_frames", 1)
        file = self._image.fp
        assert file is not None
        file.seek(-1, 1)  # what Pillow read last: the mark, or the file's last byte
        return file.read(1) != b";"

    def close(self) -> None:
        self._image.close()

    def _duration(self) -> float:
        return (self._image.info.get("duration") or 0) / 1000 or UNSAID
