"""The frames of animated GIF, WebP, PNG and AVIF files, with their times."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from softgate_ext.data.images import picture_formats, upright_rgb
from softgate_ext.errors import InputError, reason
from softgate_ext.prediction.video import Frame

UNSAID = 0.1  # seconds of a frame without a duration in the file, as in browsers


class AnimationReader:
    """An iterator over the frames of an animated image, each as it is shown. It can be used once.

    Pillow reads all four formats; FFmpeg cannot read animated WebP.

    Args:
        path: the file.

    Attributes:
        rate: frames per second, from the duration of the first frame.
        cut: whether the file ended before its last frame; known when the iteration has ended.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.cut = path, False
        try:
            self._image = Image.open(path, formats=picture_formats())
            # The file may begin with an image for programs that show no animation.
            self._first = 1 if self._image.info.get("default_image") else 0
            self._image.seek(self._first)
            self._image.load()
        except Exception as error:  # Pillow raises a dozen types for damaged files
            raise InputError(
                f"image {path} is damaged or cut short ({reason(error)}); it must be whole"
            ) from None
        self.rate = 1 / self._duration()

    def __iter__(self) -> Iterator[Frame]:
        """The frames until the end of the file, or until the first one that is damaged."""
        number, seconds = self._first, 0.0
        while True:
            try:
                self._image.seek(number)
                self._image.load()
                picture = upright_rgb(self._image, self.path)
            except EOFError:
                self.cut = self._has_more(number)
                return
            except Exception:  # Pillow raises a dozen types for damaged files
                self.cut = True
                return
            yield Frame(picture, seconds)
            seconds += self._duration()
            number += 1

    def _has_more(self, number: int) -> bool:
        """Whether the file states more than `number` frames, or is a GIF without its end mark."""
        if self._image.format != "GIF":
            return number < getattr(self._image, "n_frames", 1)
        file = self._image.fp
        assert file is not None
        file.seek(-1, 1)  # the last byte that Pillow read: the mark, or the file's last byte
        return file.read(1) != b";"

    def close(self) -> None:
        self._image.close()

    def _duration(self) -> float:
        return (self._image.info.get("duration") or 0) / 1000 or UNSAID
