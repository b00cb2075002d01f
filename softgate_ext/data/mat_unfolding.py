"""Protection against MATLAB files that unpack to too much memory or are nested too deeply for scipy.

The format is described in MathWorks, "MAT-File Format", version 5. A file consists of a header of 128
bytes and of elements. An element is a tag (type, number of bytes) and that many bytes, padded to a
multiple of 8. A matrix is an element that contains elements; cells and structs contain matrices.
"""

import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from softgate_ext.files.unfolding import check_holes, check_unfolding

HEADER = 128  # bytes
DEEPEST = 100  # nested matrices; scipy reads them by recursion and crashes at about 50,000
CHUNK = 1 << 20  # bytes
POINTER = 8  # bytes in memory of an element of a cell or struct

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_NUMBERS = range(6, 16)
_COMPLEX = 0x800


def check_mat(path: Path) -> None:
    """Checks the unpacked size and the depth of a MATLAB file.

    A file that is damaged, or not of version 5 to 7.2, passes, because reading it will give the error.

    Raises:
        ValueError: the file is a bomb, or is nested too deeply.
        OSError: the file cannot be read.
    """
    check_holes(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        header = file.read(HEADER)
        if len(header) < HEADER or 0 in header[:4]:  # too short, or version 4, which is not packed
            return
        order = "<" if header[-2:] == b"IM" else ">"
        unfolded = 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            for data, start in _matrices(file, whole, order):
                declared = _Walk(data, start, order).declared
                unfolded += POINTER * declared + (0 if data is whole else len(data))
                check_unfolding("MATLAB", unfolded, size)


def _matrices(
    file: BinaryIO, whole: mmap.mmap, order: str
) -> Iterator[tuple[bytes | mmap.mmap, int]]:
    """The unpacked variables of a file, with their starts; stops where the file is damaged."""
    while len(tag := file.read(8)) == 8:
        kind, size = struct.unpack(f"{order}II", tag)
        start = file.tell()
        if kind == _COMPRESSED:
            if not _unpacks(file, size):
                return
            file.seek(start)
            yield b"".join(_unpacked(file, size)), 0
        else:
            yield whole, start - 8
        file.seek(start + size)


def _unpacks(file: BinaryIO, size: int) -> bool:
    """Whether zlib can unpack an element. The bytes are only counted, so that a bomb is found early."""
    unfolded, start = 0, file.tell()
    try:
        for chunk in _unpacked(file, size):
            unfolded += len(chunk)
            check_unfolding("MATLAB", unfolded, file.tell() - start)
    except zlib.error:
        return False
    return True


def _unpacked(file: BinaryIO, size: int) -> Iterator[bytes]:
    unpack = zlib.decompressobj()
    while size > 0 and not unpack.eof and (packed := file.read(min(size, CHUNK))):
        size -= len(packed)
        while packed:
            yield unpack.decompress(packed, CHUNK)
            packed = unpack.unconsumed_tail


class _Walk:
    """Goes through the matrices of an element in the order in which scipy reads them.

    Attributes:
        declared: the stated number of elements in all cells, structs and texts.

    Raises:
        ValueError: the matrices are nested too deeply.
    """

    def __init__(self, data: bytes | mmap.mmap, start: int, order: str) -> None:
        self.declared = 0
        self._data, self._place = data, start
        self._two = struct.Struct(f"{order}II").unpack_from
        self._usual = struct.Struct(f"{order}5I4x2I8x4I").unpack_from
        self._int = f"{order}%di"
        children = [1]  # for each enclosing matrix, the matrices that are still to come
        try:
            while children:
                if not children[-1]:
                    children.pop()
                    continue
                children[-1] -= 1
                if self._number():
                    continue
                if inside := self._matrix(outermost=len(children) == 1):
                    children.append(inside)
                    if len(children) > DEEPEST:
                        raise ValueError("it is nested too deeply")
        except struct.error:  # truncated or damaged: scipy will give the error
            pass

    def _number(self) -> bool:
        """Skips a matrix of numbers without a name and with two dimensions, if one is here.

        Files have very many of these. `_matrix` alone would take twice the time of scipy.
        """
        try:
            kind, size, _, _, flags, *rest = self._usual(self._data, self._place)
        except struct.error:
            return False
        if kind != _MATRIX or not size or flags & _COMPLEX or flags & 0xFF not in _NUMBERS:
            return False
        dims, dims_size, name, name_size, within, numbers = rest
        if dims >> 16 or dims_size != 8 or name >> 16 or name_size:
            return False
        self._place += 56 + (0 if within >> 16 else numbers + -numbers % 8)
        return True

    def _matrix(self, outermost: bool) -> int:
        """Skips a matrix up to the matrices inside it, and returns their number."""
        kind, size = self._two(self._data, self._place)
        if kind != _MATRIX:
            raise struct.error
        self._place += 8
        if not size and not outermost:
            return 0
        flags, _ = self._two(self._data, self._place + 8)
        self._place += 16
        form = flags & 0xFF
        if form == _OPAQUE:
            for _ in range(3):
                self._skip()
            return 1
        dims, size = self._skip()
        count = math.prod(struct.unpack_from(self._int % (size // 4), self._data, dims))
        self._skip()  # name
        if form <= _CHAR:
            self.declared += max(count, 0)
        if form == _FUNCTION:
            return 1
        if form == _CELL:
            return max(count, 0)
        if form in (_STRUCT, _OBJECT):
            if form == _OBJECT:
                self._skip()  # name of the class
            length, _ = self._skip()
            (longest,) = struct.unpack_from(self._int % 1, self._data, length)
            _, size = self._skip()
            return max(count, 0) * (size // longest) if longest > 0 else 0
        parts = 1 if form != _SPARSE else 3
        for _ in range(parts + (flags & _COMPLEX != 0 and form != _CHAR)):
            self._skip()
        return 0

    def _skip(self) -> tuple[int, int]:
        """Skips an element that is not a matrix; returns the start and the number of its bytes."""
        kind, size = self._two(self._data, self._place)
        if kind >> 16:  # a small element: up to four bytes inside the tag
            start, size = self._place + 4, kind >> 16
            self._place += 8
        else:
            start = self._place + 8
            self._place = start + size + -size % 8
        return start, size
