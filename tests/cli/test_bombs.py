"""Small files that would unpack to more than the memory are refused before memory is allocated."""

import gzip
import io
import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from softgate_ext.data.mat_unfolding import check_mat
from softgate_ext.data.matfile import read_mat
from softgate_ext.data.yolo_layout import read_yaml, text_lines
from softgate_ext.files.reading import read_json
from softgate_ext.files.unfolding import ROOM, check_holes, stored_size
from softgate_ext.runs.log import read_log

SIZE = 3 * ROOM  # bytes
BLOCK = bytes(1 << 20)


@contextmanager
def little_memory() -> Iterator[None]:
    """A block that takes less than what a file may unfold to."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < ROOM
    finally:
        tracemalloc.stop()


def zipped(path: Path, name: str = "pred.npy") -> Path:
    """A member of an .npz file whose array is of zeros."""
    head = io.BytesIO()
    about = {"descr": "|i1", "fortran_order": False, "shape": (SIZE,)}
    np.lib.format.write_array_header_1_0(head, about)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        member.write(head.getvalue())
        for _ in range(SIZE // len(BLOCK)):
            member.write(BLOCK)
    return path


def shared(path: Path) -> Path:
    """Members that share their bytes, of which none is a bomb alone."""
    zipped(path)
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    start = struct.unpack_from("<I", data, end + 16)[0]
    entry = bytearray(data[start:end])
    entry[24:28] = struct.pack("<I", ROOM)
    numbers = struct.pack("<4H2I", 0, 0, 4, 4, 4 * len(entry), start)
    path.write_bytes(data[:start] + 4 * entry + b"PK\5\6" + numbers + bytes(2))
    return path


def empty_texts(path: Path) -> Path:
    """An array of very many texts of no characters, which takes no bytes."""
    head = io.BytesIO()
    about = {"descr": "<U0", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(head, about)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pred.npy", head.getvalue())
    return path


def element(kind: int, data: bytes = b"") -> bytes:
    return struct.pack("<II", kind, len(data)) + data


def matrix(form: int, *dims: int, name: bytes = b"") -> bytes:
    """The beginning of a MATLAB matrix of this class."""
    named = struct.pack("<II", 1, len(name)) + name.ljust(-(-len(name) // 8) * 8, b"\0")
    sides = struct.pack(f"<{len(dims)}i", *dims)
    return element(6, struct.pack("<II", form, 0)) + element(5, sides) + named


def mat(path: Path, *elements: bytes) -> Path:
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(elements))
    return path


def packed_numbers(path: Path) -> Path:
    inside = matrix(8, SIZE, 1, name=b"pred") + struct.pack("<II", 1, SIZE)
    pack = zlib.compressobj(1)
    data = pack.compress(struct.pack("<II", 14, len(inside) + SIZE) + inside)
    data += b"".join(pack.compress(BLOCK) for _ in range(SIZE // len(BLOCK))) + pack.flush()
    return mat(path, element(15, data))


def cells(path: Path) -> Path:
    """Nothing but the number of them."""
    return mat(path, element(14, matrix(1, 1 << 16, 1 << 14, name=b"pred")))


def fields(path: Path) -> Path:
    """Structs without a field, beside a plain matrix, all packed."""
    number = element(14, matrix(8, 1, 1) + element(1, bytes(8)))
    none = element(14, matrix(2, 1 << 30, 1) + element(5, struct.pack("<ii", 32, 0)) + element(1))
    inside = matrix(1, 1, 2, name=b"pred") + number + none
    return mat(path, element(15, zlib.compress(element(14, inside))))


def letters(path: Path) -> Path:
    return mat(path, element(14, matrix(4, 1, 1 << 30, name=b"pred") + element(1)))


def deep(path: Path) -> Path:
    """So many cells in each other that scipy crashes."""
    inside = b"".join(struct.pack("<II", 14, 48) + matrix(1, 1, 1) for _ in range(200_000))
    return mat(path, element(14, matrix(1, 1, 1, name=b"pred") + inside + element(14)))


def chunks(path: Path) -> Path:
    """Chunks of zeros, and of another dataset one, packed, that is larger than it."""
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    with h5py.File(path, "w") as store:
        store.create_dataset("pred", (SIZE,), "i1", chunks=(1 << 20,), compression=1, fillvalue=0)
        for start in range(0, SIZE, len(BLOCK)):
            store["pred"][start : start + len(BLOCK)] = 0
    return path


def one_chunk(path: Path) -> Path:
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    with h5py.File(path, "w") as store:
        whole = {"chunks": (SIZE,), "maxshape": (None,), "compression": 1}
        store.create_dataset("pred", (4,), "i1", **whole)[:] = 0
    return path


def unwritten(path: Path) -> Path:
    """Values that are not stored, since they are all the same."""
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    with h5py.File(path, "w") as store:
        store.create_dataset("pred", (1 << 20, 1 << 20), "f8")
    return path


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (zipped, "a.npz", "is a zip bomb"),
        (shared, "a.npz", "is a zip bomb"),
        (empty_texts, "a.npz", "is a zip bomb"),
        (packed_numbers, "a.mat", "is a MATLAB bomb"),
        (cells, "a.mat", "is a MATLAB bomb"),
        (fields, "a.mat", "is a MATLAB bomb"),
        (letters, "a.mat", "is a MATLAB bomb"),
        (deep, "a.mat", "is nested too deeply"),
        (chunks, "a.h5", "is a HDF5 bomb"),
        (one_chunk, "a.h5", "is a HDF5 bomb"),
        (unwritten, "a.hdf5", "is a HDF5 bomb"),
    ],
)
def test_joints(
    make: Callable[[Path], Path],
    name: str,
    words: str,
    people: Path,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    bomb = make(tmp_path / name)
    assert bomb.stat().st_size < ROOM // 3
    refused(
        "evaluate", people, "--predictions", tmp_path / "absent.npz"
    )  # loads what is loaded but once
    with little_memory():
        assert words in refused("evaluate", people, "--predictions", bomb)
    if make in (zipped, shared):
        with little_memory():
            assert words in refused("evaluate", "--reference", bomb)
    if make in (packed_numbers, cells, fields, letters, deep):
        (tmp_path / "images").mkdir()
        shutil.copy(bomb, tmp_path / "joints.mat")
        with little_memory():
            assert words in refused("data", "check", tmp_path)


def test_training_states(run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    zipped(out / "training.pt", "training/data.pkl")
    with little_memory():
        assert "training.pt (it is a zip bomb" in refused("train", "--out", out, "--resume")


@pytest.mark.parametrize("name", ["bomb.json.gz", "BOMB.JSON.GZ"])
def test_json(
    name: str, run: Path, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    bomb = tmp_path / "bombs" / name
    bomb.parent.mkdir()
    with gzip.open(bomb, "wb") as file:
        file.write(b'{"images": [')
        for _ in range(5):
            file.write(b" " * 2**24)
    image = people / "images/im0001.jpg"
    for words in (
        ("data", "check", bomb),
        ("data", "check", bomb.parent),
        ("predict", run, image, "--boxes", bomb, "--out", tmp_path / "out"),
    ):
        assert f"{name} (it is a gzip bomb" in refused(*words)


def holes(path: Path, start: bytes = b"") -> Path:
    """A file of a TiB that takes a block of the disk."""
    path.write_bytes(start)
    os.truncate(path, 1 << 40)
    return path


@pytest.mark.parametrize(
    "read", [read_json, read_log, read_yaml, text_lines, check_mat], ids=lambda read: read.__name__
)
def test_files_with_holes(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = holes(tmp_path / "a")
    if stored_size(path):
        pytest.skip("needs a file system that tells holes")
    with little_memory(), pytest.raises(ValueError, match="is a sparse file bomb"):
        read(path)


def test_holes_are_not_stored(tmp_path: Path) -> None:
    path = holes(tmp_path / "a", bytes(range(200)))
    if stored_size(path) == 1 << 40:
        pytest.skip("needs a file system that tells holes")
    assert 200 <= stored_size(path) <= 1 << 20
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"1")
    assert 201 <= stored_size(path) <= 2 << 20
    path.write_bytes(bytes(ROOM + 1))
    assert stored_size(path) == ROOM + 1
    check_holes(path)


def test_values_in_other_files_are_not_read(
    people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(64)))
    with h5py.File(tmp_path / "a.h5", "w") as store:
        store.create_dataset("pred", (64,), "u1", external=[(str(secret), 0, 64)])
    line = refused("evaluate", people, "--predictions", tmp_path / "a.h5")
    assert "the values of /pred are in another file" in line
    with h5py.File(tmp_path / "b.h5", "w") as store:
        store["pred"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "pred")
    assert "got nothing" in refused("evaluate", people, "--predictions", tmp_path / "b.h5")


def test_files_that_are_none_are_read(tmp_path: Path) -> None:
    """Of all that MATLAB files hold, packed or not; numbers that pack well are no bomb."""
    numbers = np.zeros((200, 200))
    struct_ = np.zeros((1, 3), [("x", object), ("name", object)])
    for place in range(3):
        struct_[0, place] = (place + 0.5, f"name {place}")
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = struct_, np.array([[1 + 2j]])
    sparse = scipy.sparse.csc_array(np.eye(3))
    held = {"numbers": numbers, "cell": cell, "sparse": sparse, "text": "abc", "flag": True}
    for packed in (False, True):
        path = tmp_path / f"{packed}.mat"
        scipy.io.savemat(path, held, do_compression=packed)
        found = read_mat(path)
        assert found.keys() == held.keys()
        assert found["cell"][0, 0]["name"][0, 2] == "name 2"
        whole = path.read_bytes()
        for end in range(100, min(len(whole), 3000), 7):  # a damaged one is the reader's affair
            path.write_bytes(whole[:end])
            check_mat(path)


def test_how_deep(tmp_path: Path) -> None:
    value: object = 1.0
    for depth in range(1, 101):
        cell = np.empty((1, 1), object)
        cell[0, 0], value = value, cell
        scipy.io.savemat(tmp_path / "a.mat", {"a": value})
        if depth < 100:
            assert read_mat(tmp_path / "a.mat")["a"].shape == (1, 1)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_mat(tmp_path / "a.mat")
