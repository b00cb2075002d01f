"""Tensors of more than 2^32 elements: the blocks at both ends of the grid and in its middle, over memory
that is reserved and mostly never touched. What overflowed 32 bits would land outside of these places."""

import ctypes
import mmap
from ctypes import byref

import emulator_build
import pytest
import torch
from emulator_calls import DTYPES, EmulatorError, Machine, load
from emulator_checks import check
from emulator_ops import LAYOUTS, Case
from emulator_structs import (
    Backward,
    Device,
    Dims,
    Forward,
    Norm,
    Operand,
    Report,
    Slot,
    Source,
)

pytestmark = pytest.mark.proof("emulator")

NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE, which Python names from 3.13 on
ITEM = 2  # bytes of a bfloat16
END = 1 << 20
# So many processors that a block has a few items only.
MACHINE = Machine("two_pass", Device(1 << 24, 50 << 20, 99 << 10, 1), edge_blocks=4)
# Contiguous: a channel that begins 2^31 values into its sample.
SIZES = {"contiguous": (2, 3, 1 << 15, 1 << 15), "channels_last": (3, 8, 1 << 14, 1 << 14)}
# The largest plane: a step past the end of a sample, in the middle of the grid, counts beyond 2^31; and
# channels_last counts 2^33 pixels.
LARGEST = (4, 1, 1, (1 << 31) - 1)


class Sparse:
    """Tensors of which only the ends and the middle of channels may be touched."""

    def __init__(self):
        self._maps, self._slots = [], []

    def tensor(
        self, name: str, size: tuple[int, int, int, int], layout: str, written: bool
    ) -> Operand:
        n, c, h, w = size
        total = n * c * h * w * ITEM
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        try:
            memory = mmap.mmap(-1, total, flags=flags)
        except OSError as error:
            pytest.skip(f"the system reserves no {total >> 30} GiB: {error}")
        self._maps.append(memory)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        plane, image = h * w * ITEM, c * h * w * ITEM
        if layout == "contiguous":  # a channel starts in the first sample and ends in the last
            middle = n // 2 * image
            starts = [s + channel * plane for channel in range(c) for s in (0, middle)]
            ends = [e - channel * plane - END for channel in range(c) for e in (middle, n * image)]
        else:
            middle = total // ITEM // 2 * ITEM
            starts, ends = [0, middle], [middle - END, total - END]
        for place in (*starts, *ends):
            self._slots.append(Slot(name.encode(), base + place, END, written))
        return Operand(base, True)

    def vector(self, values: torch.Tensor) -> Operand:
        self._maps.append(values)
        size = values.numel() * values.element_size()
        self._slots.append(Slot(b"vector", values.data_ptr(), size, 1))
        return Operand(values.data_ptr(), True)

    def run(self, library, direction: str, call: ctypes.Structure) -> None:
        slots, report = (Slot * len(self._slots))(*self._slots), Report()
        run = getattr(load(library), f"run_{direction}")
        if run(byref(call), byref(MACHINE.options()), slots, len(slots), byref(report)):
            raise EmulatorError(report.error.decode())


def ends(t: Operand, count: int) -> list[float]:
    """The first and the last value of a tensor."""
    bits = [ctypes.c_uint16.from_address(t.data + i * ITEM).value for i in (0, count - 1)]
    return torch.tensor(bits, dtype=torch.uint16).view(torch.bfloat16).tolist()


def evaluation(sparse: Sparse, channels: int) -> tuple[Norm, Operand, Operand]:
    """Of zeros it makes 0.5 + 2 * (0 + 1) = 2.5."""
    ones = torch.ones(channels)
    norm = Norm(sparse.vector(2 * ones), sparse.vector(ones / 2), 0.0, True, False)
    return norm, sparse.vector(-ones), sparse.vector(ones)


def forward_and_backward(
    library, layout: str, size: tuple[int, int, int, int], low: bool = False
) -> None:
    n, c, h, w = size
    assert n * c * h * w > 1 << 32
    sparse = Sparse()
    source = Source(sparse.tensor("skip", size, layout, True), c, branches=1)
    source.branch[0], source.width[0] = sparse.tensor("branch", size, layout, True), c
    if low:
        small = (n, c, h // 2, w // 2)
        source.low, source.low_channels = sparse.tensor("low", small, layout, True), c
    dims = Dims(n, c, h, w, layout == "channels_last")
    norm, mean, var = evaluation(sparse, c)
    y, z = (sparse.tensor(name, size, layout, False) for name in "yz")
    call = Forward(DTYPES[torch.bfloat16], dims, source, norm, y, z, mean, var)
    sparse.run(library, "forward", call)
    count = n * c * h * w
    assert ends(y, count) == [0, 0] and ends(z, count) == [2.5, 2.5]

    sparse = Sparse()
    source.skip = source.low = source.branch[0] = Operand()
    norm, mean, var = evaluation(sparse, c)
    call = Backward(DTYPES[torch.bfloat16], dims, source, norm)
    call.dy, call.dz, call.y = (
        sparse.tensor(name, size, layout, True) for name in ("dy", "dz", "y")
    )
    call.mean, call.var = mean, var
    for place in (0, count - 1):  # a gradient of 1 for z at both ends
        ctypes.c_uint16.from_address(call.dz.data + place * ITEM).value = 0x3F80
    call.dskip = sparse.tensor("dskip", size, layout, False)
    call.dbranch[0] = sparse.tensor("dbranch", size, layout, False)
    if low:
        call.dlow = sparse.tensor("dlow", small, layout, False)
    sparse.run(library, "backward", call)
    assert ends(call.dskip, count) == ends(call.dbranch[0], count) == [2, 2]
    if low:
        assert ends(call.dlow, count // 4) == [2, 2]


@pytest.mark.parametrize("low", [False, True], ids=["residual", "add"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_ends(emulator, layout, low):
    forward_and_backward(emulator, layout, SIZES[layout], low)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_largest_plane(emulator, layout):
    forward_and_backward(emulator, layout, LARGEST)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "size", "right", "wrong"),
    [
        (
            "contiguous",
            SIZES["contiguous"],
            "tensor + first * channels",
            "tensor + int(first * channels)",
        ),
        (
            "contiguous",
            SIZES["contiguous"],
            "channel : channel * plane",
            "channel : int(channel * plane)",
        ),
        (
            "channels_last",
            SIZES["channels_last"],
            "tensor + first * channels",
            "tensor + int(first * channels)",
        ),
        (
            "channels_last",
            LARGEST,
            "begin(split * cut.chunk)",
            "begin(int(split * cut.chunk))",
        ),
    ],
    ids=["sample", "channel", "value", "pixel"],
)
def test_32_bits_are_caught(emulator, tmp_path, layout, size, right, wrong):
    library = emulator_build.build_wrong(tmp_path, "tile.cuh", right, wrong, dtype="bf16")
    with pytest.raises(EmulatorError, match="outside every tensor|nothing wrote"):
        forward_and_backward(library, layout, size)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_samples_than_a_dimension_of_a_grid(emulator, layout):
    """All blocks are along x, of which a grid has 2^31 - 1."""
    case = Case("plain", (1,), (70_000, 1, 1), layout=layout)
    assert check(emulator, case, Machine("two_pass", MACHINE.device))


@pytest.mark.parametrize(
    "sizes", [(1 << 31, 1, 1, 1), (1, 1 << 31, 1, 1), (1, 1, 1 << 16, 1 << 15)]
)
def test_what_an_index_cannot_count_is_refused(emulator, sizes):
    call = Forward(DTYPES[torch.bfloat16], Dims(*sizes, False), Source())
    with pytest.raises(EmulatorError, match=r"up to 2\^31 - 1 samples, channels and pixels"):
        Sparse().run(emulator, "forward", call)


def test_pixels_that_32_bits_cannot_count_are_refused(emulator):
    call = Forward(DTYPES[torch.float32], Dims(1, 1 << 30, 1, 2, True), Source())
    with pytest.raises(
        EmulatorError, match=r"less than 2\^32 bytes .* got 1073741824 channels of 4"
    ):
        Sparse().run(emulator, "forward", call)
