"""Wrong kernels that the emulator must catch: each is csrc/cuda with one thing changed."""

from dataclasses import dataclass, replace

import emulator_build
import pytest
from emulator_calls import CLUSTER_GPU, ONE_WARP_AHEAD, SMALL_GPU, EmulatorError, Machine
from emulator_checks import check
from emulator_ops import Case

pytestmark = pytest.mark.proof("emulator")

BLOCK = Case("residual", (24, 8, 8), (3, 8, 8))
LAST = Case("residual", (24, 8, 8), (3, 8, 8), layout="channels_last")
RAGGED = Case("residual", (132,), (2, 4, 4), layout="channels_last")  # a group with idle lanes
CONCAT = Case("concat", (8, 8), (3, 8, 8), low=16)
INFINITE = replace(BLOCK, norm="evaluation", overflowed=True)
SHIFTED = Case("residual", (8, 8), (2, 8, 8), shift=1)
TWO_PASS = Machine("two_pass", SMALL_GPU)
SLICED = Machine("sliced", SMALL_GPU)
RESIDENT = Machine("resident", CLUSTER_GPU)
AHEAD = replace(RESIDENT, order_seed=ONE_WARP_AHEAD)


@dataclass(frozen=True)
class Wrong:
    """One thing wrong: `right` in `file` became `wrong`; `says` is in what the emulator says."""

    file: str
    right: str
    wrong: str
    case: Case
    machine: Machine
    says: str


KERNELS = {
    "a dropped barrier": Wrong(
        "reduce.cuh",
        "  for (; rows > 1 && half > 0; half /= 2) {\n    __syncthreads();\n",
        "  for (; rows > 1 && half > 0; half /= 2) {\n",
        LAST,
        TWO_PASS,
        "not close",
    ),
    "a return before a barrier": Wrong(
        "forward.cuh",
        "  const Table<K> table(cut, thread, group, a.dims, &a.source, nullptr,",
        "  if (!thread.active) return;\n"
        "  const Table<K> table(cut, thread, group, a.dims, &a.source, nullptr,",
        RAGGED,
        TWO_PASS,
        "divergent barrier",
    ),
    "a shuffle that half a warp reaches": Wrong(
        "reduce.cuh",
        "if (row < kWarp) value[0] = merge_warp(row < warps ? shared[row] : S{});",
        "if (row < warps) value[0] = merge_warp(shared[row]);",
        BLOCK,
        TWO_PASS,
        "divergent shuffle",
    ),
    "a sum that never reached shared memory": Wrong(
        "reduce.cuh",
        "if (row % kWarp == 0) shared[row / kWarp] = value[0];",
        "if (row == 0) shared[row / kWarp] = value[0];",
        BLOCK,
        TWO_PASS,
        "not close",
    ),
    "a lane counted twice": Wrong(
        "reduce.cuh",
        "row < warps ? shared[row] : S{}",
        "shared[row % warps]",
        BLOCK,
        TWO_PASS,
        "not close",
    ),
    "a tile one item off": Wrong(
        "tile.cuh",
        "begin(split * cut.chunk)",
        "begin(split * (cut.chunk - 1))",
        Case("plain", (8,), (40, 16, 16)),
        TWO_PASS,
        "not close",
    ),
    "a tile one item too long": Wrong(
        "tile.cuh",
        "thread.begin + cut.chunk < cut.items ? thread.begin + cut.chunk : cut.items;",
        "thread.begin + cut.chunk;",
        BLOCK,
        TWO_PASS,
        "outside every tensor",
    ),
    "a skipped tail": Wrong(
        "tile.cuh",
        "static_cast<int>((mine + cut.rows - 1) / cut.rows)",
        "static_cast<int>(mine / cut.rows)",
        BLOCK,
        TWO_PASS,
        "not written everywhere",
    ),
    "a mask from the wrong tensor": Wrong(
        "backward.cuh",
        "relu_grad(g[i], pre_activation(wide, mean[c], scale[c], bias[c]))",
        "relu_grad(g[i], g[i])",
        BLOCK,
        TWO_PASS,
        "not close",
    ),
    "a child that is not gathered": Wrong(
        "backward.cuh",
        "low[K::low_of(v)] += d[v];",
        "low[K::low_of(v)] = d[v];",
        CONCAT,
        TWO_PASS,
        "dlow",
    ),
    "a branch one channel off": Wrong(
        "source.cuh",
        "width, plane, first - start,",
        "width, plane, first - start + 1,",
        BLOCK,
        TWO_PASS,
        "outside every tensor",
    ),
    "a pack off its alignment": Wrong(
        "pass.cpp",
        "    if (!aligned(tensor, kPackBytes)) return packing;\n",
        "    if (!aligned(tensor, 1)) return packing;\n",
        SHIFTED,
        TWO_PASS,
        "off its alignment",
    ),
    "a grid that does not wait": Wrong(
        "sliced.cuh",
        "normalise_block<Plain>(map, map_cut, ready.group(i), ready.split(i));\n"
        "    }\n    if (!last) barrier.wait();\n",
        "normalise_block<Plain>(map, map_cut, ready.group(i), ready.split(i));\n    }\n",
        BLOCK,
        SLICED,
        "nothing wrote",
    ),
    "a cluster that does not wait": Wrong(
        "resident.cuh",
        "  cluster_sync();\n}\n\n// The total",
        "}\n\n// The total",
        Case("plain", (2,), (32, 32, 32)),
        RESIDENT,
        "not close",
    ),
    "kept packs on top of each other": Wrong(
        "kept.cuh",
        "(number * kTensors + tensor) *",
        "(number + tensor) *",
        Case("plain", (2,), (32, 32, 32)),
        RESIDENT,
        "not close",
    ),
    "a cluster that does not wait for its statistics": Wrong(
        "resident.cuh",
        "  cluster_sync();  // the statistics",
        "  // the statistics",
        Case("plain", (2,), (32, 32, 32)),
        AHEAD,
        "nothing wrote",
    ),
    "a block that leaves while it is read": Wrong(
        "resident.cuh",
        "total_of_cluster<GateSum<A>>(cut, i));\n  }\n  cluster_sync();\n",
        "total_of_cluster<GateSum<A>>(cut, i));\n  }\n",
        Case("residual", (2,), (32, 32, 32)),
        AHEAD,
        "a block that has ended",
    ),
    "a ReLU that swallows NaN": Wrong(
        "pack.cuh",
        "with_relu ? relu(value[i]) : value[i]",
        "with_relu && !(value[i] > Accumulator<T>(0)) ? Accumulator<T>(0) : value[i]",
        INFINITE,
        TWO_PASS,
        "not close",
    ),
    "an infinite y times a slope of zero": Wrong(
        "backward.cuh",
        "if (training) centred -=",
        "if (training || v >= 0) centred -=",
        INFINITE,
        TWO_PASS,
        "not close",
    ),
    "statistics that nothing wrote": Wrong(
        "forward.cuh",
        "  set_channel_value(a.mean, channel, total.mean);\n",
        "",
        BLOCK,
        TWO_PASS,
        "nothing wrote",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_wrong_kernels_are_caught(emulator, tmp_path, name):
    kernel = KERNELS[name]
    assert check(emulator, kernel.case, kernel.machine), "the case serves the right kernel"
    change = (kernel.file, kernel.right, kernel.wrong)
    wrong = emulator_build.build_wrong(tmp_path, *change, dtype="f32")
    with pytest.raises((EmulatorError, AssertionError), match=kernel.says):
        check(wrong, kernel.case, kernel.machine)
