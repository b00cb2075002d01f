// How a call is cut into blocks and which variant of the kernels serves it: plain C++, decided from
// shapes, pointers and the device alone, so that tests can ask for any device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../args.h"

namespace softgate::cuda {

// How batch statistics and their use share the reads. Results differ by rounding only; each variant
// gives the same bits for the same input on the same device.
enum class Variant {
  automatic,  // of a plan that is asked for, never of one that is made
  two_pass,  // reduce, then map: any shape
  sliced,    // one cooperative launch walks slices of channels small enough to wait in L2
  resident,  // one launch: each channel waits in the shared memory of a block or a cluster
  one_pass,  // no statistics of the batch: nothing has to wait
};

struct Device {
  int processors;    // multiprocessors
  int64_t l2_bytes;
  int shared_bytes;  // shared memory a block may ask for
  int cluster;       // blocks a cluster may have: 1 before sm_90
  int cooperative;   // blocks of a cooperative grid that a multiprocessor holds; 0: there are no such grids
  double clock;        // Hz, of the multiprocessors
  double memory_rate;  // bytes a second, as the memory's clock and width would have it
};

constexpr int kPackBytes = 16;
constexpr int kThreads = 256;
constexpr int kMaxLanes = 32;  // of a block: 512 bytes of a pixel side by side
constexpr int kLeastLanes = 4;  // where there are as many packs: 64 bytes, two sectors of memory
constexpr int kBlocksPerProcessor = 2;  // that every kernel promises to fit, see __launch_bounds__

// Work is cut along channels into groups and along items into splits; one block serves one split of
// one group. A block's threads are `lanes` packs of channels by `rows` items.
//
// An item is what one thread handles at a time: one pack, or, where a low resolution takes part, the
// packs of two image rows whose children fill one pack of it (upsample2x).
struct WorkSplit {
  int lanes = 1;   // always 1 in a contiguous layout, where all of a pack is of one channel
  int rows = 1;
  int groups = 0;
  int splits = 0;
  int64_t items = 0;  // of one group
  int64_t chunk = 0;  // items of one split
  int cols = 1;       // items of a line
  int lines = 1;      // lines of a sample
  int step_n = 0, step_line = 0, step_col = 0;  // `rows` items further on

  int threads() const { return lanes * rows; }
};

// The shape of the packs of a call.
struct Packing {
  bool vector = false;  // packs of 16 bytes, else of one value
  bool half_packs = false;   // a branch ends in the middle of a pack: branches are read by half packs
  bool upsample2x = false;
};

// One walk over the data by a grid of blocks.
struct Pass {
  Packing packing;
  WorkSplit cut;
  int64_t blocks = 0;  // of the grid; 0: the call has no such pass
  size_t shared = 0;   // bytes of shared memory of a block
};

// All that is decided of a call before it is launched.
struct Plan {
  Variant variant = Variant::one_pass;
  Pass reduce;  // the sums that batch statistics need; sliced and resident: the one kernel there is
  Pass map;     // what is left; sliced forward: the blocks' second look, at y alone
  int slices = 0;
  int slice_groups = 0;  // groups of one slice
  size_t keep_offset = 0;  // resident: where in shared memory, behind merges and tables, packs wait
  // The workspace: terms of every channel (backward), then the partial sums of both kinds.
  size_t norm_at = 0, gate_at = 0, workspace_bytes = 0;
};

// Every plan that serves a call on a device: one for each variant. None for an empty tensor. Throws
// std::invalid_argument where an index cannot count the tensors.
std::vector<Plan> make_plans(const Forward& call, const Device& device);
std::vector<Plan> make_plans(const Backward& call, const Device& device);

// The one of them that takes the least time by model.h, or the forced one; a variant can be forced on
// calls that make statistics of the batch. Throws std::invalid_argument where it cannot serve the call.
Plan make_plan(const Forward& call, const Device& device, Variant forced = Variant::automatic);
Plan make_plan(const Backward& call, const Device& device, Variant forced = Variant::automatic);

// The second pass of a forward: batch_norm and ReLU of y as it was stored.
Forward second_pass(const Forward& call);

}  // namespace softgate::cuda
