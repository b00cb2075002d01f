// The plan of a call: which variant of the kernels runs, and how the work is divided among thread blocks. A plan
// depends only on shapes, dtypes, the alignment of pointers and the properties of the device. This is plain C++
// without the CUDA runtime, so tests can plan for any device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../args.h"

namespace softgate::cuda {

// Batch statistics need two looks at the data: one to compute the sums over each channel, and one to use them. The
// variants differ in where the data stay between the two looks. The results of two variants differ by rounding only.
// Each variant gives the same bits for the same input on the same device.
enum class Variant {
  automatic,  // a request: the planner chooses; a finished plan never has this value
  two_pass,  // two passes, which both read the data from device memory; any shape
  sliced,    // one cooperative launch; the data stay in L2, in slices of channels that fit
  resident,  // one launch; the data of each channel stay in the shared memory of a thread block or a cluster
  one_pass,  // one kernel and one look: for calls without batch statistics
};

struct Device {
  int processors;    // number of multiprocessors
  int64_t l2_bytes;
  int shared_bytes;  // maximum shared memory of a thread block, in bytes (opt-in limit)
  int cluster;       // maximum number of thread blocks in a cluster; 1 before sm_90
  int cooperative;   // thread blocks of a cooperative grid per multiprocessor; 0: cooperative launch is unsupported
  double clock;        // of the multiprocessors, in Hz
  double memory_rate;  // theoretical bandwidth of device memory, in bytes per second
};

constexpr int kPackBytes = 16;  // the widest access of a thread to global memory up to sm_90
constexpr int kThreads = 256;   // of a thread block
constexpr int kMaxLanes = 32;   // of a thread block: 512 consecutive bytes of a pixel
constexpr int kLeastLanes = 4;  // if a pixel has that many packs: 64 bytes, two sectors of 32 bytes
constexpr int kBlocksPerProcessor = 2;  // the minimum that every kernel requests with __launch_bounds__

// How a grid shares the work. The channels are divided into groups and the items of a group into splits. One thread
// block works on one split of one group, which is called its chunk. Its threads form `lanes` columns, one for each
// pack of channels, and `rows` rows, which work on consecutive items.
//
// An item is the unit of work of a thread: one pack. If the op has a low-resolution tensor (upsample2x), an item
// is one pack of low together with the corresponding packs of two image rows of y: each value of low has 2 x 2
// children in y.
//
// A thread keeps its channels for the whole kernel, so it loads their constants once and sums in registers. A warp
// accesses consecutive memory: in the contiguous layout 32 packs of one channel, in channels_last up to 512 bytes of
// each pixel.
struct WorkSplit {
  int lanes = 1;   // 1 in the contiguous layout, where all values of a pack belong to one channel
  int rows = 1;
  int groups = 0;
  int splits = 0;
  int64_t items = 0;  // of one group
  int64_t chunk = 0;  // items of one split, a multiple of `rows`
  int cols = 1;       // items of a line
  int lines = 1;      // lines of a sample: pairs of image rows with upsample2x, else 1
  int step_n = 0, step_line = 0, step_col = 0;  // the distance of `rows` items, as (sample, line, column)

  int threads() const { return lanes * rows; }
};

// The packs of a call.
struct Packing {
  bool vector = false;  // packs of 16 bytes; else packs of one value
  bool half_packs = false;   // branches are accessed by packs of 8 bytes, see source.cuh
  bool upsample2x = false;
};

// One pass of a grid over the data.
struct Pass {
  Packing packing;
  WorkSplit cut;
  int64_t blocks = 0;  // thread blocks of the grid; 0: the call has no such pass
  size_t shared = 0;   // shared memory of a thread block, in bytes
};

// All decisions about a call.
struct Plan {
  Variant variant = Variant::one_pass;
  Pass reduce;  // computes the sums for batch statistics; in sliced and resident the only kernel
  Pass map;     // uses the sums; in the sliced forward, the cut of the second look of that kernel, which reads y only
  int slices = 0;
  int slice_groups = 0;  // groups of one slice
  size_t keep_offset = 0;  // resident: the byte offset of the kept packs in shared memory
  // The workspace in bytes: NormGradTerms of every channel (backward only), then the partial sums for the norm at
  // norm_at and those for alpha at gate_at.
  size_t norm_at = 0, gate_at = 0, workspace_bytes = 0;
};

// The plans of all variants that can run a call on a device. Empty if the tensors are empty. Throws
// std::invalid_argument if a dimension exceeds the range of the kernels' indices.
std::vector<Plan> make_plans(const Forward& call, const Device& device);
std::vector<Plan> make_plans(const Backward& call, const Device& device);

// The plan with the smallest predicted time (model.h), or that of the forced variant. Calls without batch statistics
// ignore `forced`. Throws std::invalid_argument if the forced variant cannot run the call.
Plan make_plan(const Forward& call, const Device& device, Variant forced = Variant::automatic);
Plan make_plan(const Backward& call, const Device& device, Variant forced = Variant::automatic);

// The second pass of a forward call as a call of its own: batch_norm and ReLU of the stored (rounded) y.
Forward second_pass(const Forward& call);

}  // namespace softgate::cuda
