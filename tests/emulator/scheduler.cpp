// The scheduler: see emulator.h.
#include <algorithm>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulator.h"
#include "fibers.h"
#include "machine.h"

namespace emulator {

unsigned order_seed = 0;
int64_t edge_blocks = 0;
bool refuse_cooperative = false;

struct Block {
  uint3 index{};
  std::vector<char> shared;
  std::vector<Fiber*> fibers;
  Block* cluster = nullptr;  // its first block
};

namespace {

constexpr int kWarp = 32;

struct Machine {
  const Launch* launch = nullptr;
  const std::function<void()>* body = nullptr;
  dim3 block_size, grid_size;
  std::string error;
  int64_t grid_arrivals = 0;
};

Machine machine;

std::string at(const Place& place) {
  return std::string(place.file) + ":" + std::to_string(place.line);
}

// Ends the launch: the fiber never runs again.
void fail(const std::string& what) {
  const Fiber& fiber = *running;
  machine.error = what + " (block " + std::to_string(fiber.block->index.x) + ", thread " +
                  std::to_string(fiber.thread.x) + ")";
  for (;;) suspend(State::ready, {});
}

// Lets the fibers go on if all of them wait in `state`; they must all wait at the same place.
bool release(const std::vector<Fiber*>& fibers, State state, const char* what) {
  const auto waits = [&](Fiber* f) { return f->state == state; };
  if (!std::any_of(fibers.begin(), fibers.end(), waits)) return false;
  Fiber* first = *std::find_if(fibers.begin(), fibers.end(), waits);
  if (std::any_of(fibers.begin(), fibers.end(), [](Fiber* f) { return f->state == State::ready; })) {
    return false;
  }
  for (Fiber* f : fibers) {
    if (f->state == state && f->place == first->place) continue;
    if (f->state == State::at_shuffle && state != State::at_shuffle) return false;
    machine.error = std::string("divergent ") + what + ": some threads wait at " +
                    at(first->place) + ", others " +
                    (f->state == State::ended ? "have returned" : "wait at " + at(f->place)) +
                    " (block " + std::to_string(f->block->index.x) + ", thread " +
                    std::to_string(f->thread.x) + ")";
    return false;
  }
  for (Fiber* f : fibers) f->state = State::ready;
  return true;
}

std::vector<Fiber*> warp_of(const Block& block, size_t warp) {
  const size_t begin = warp * kWarp, end = std::min(begin + kWarp, block.fibers.size());
  return {block.fibers.begin() + begin, block.fibers.begin() + end};
}

bool release_shuffles(const Block& block) {
  bool any = false;
  for (size_t w = 0; w * kWarp < block.fibers.size() && machine.error.empty(); ++w) {
    const std::vector<Fiber*> warp = warp_of(block, w);
    const auto shuffles = [](Fiber* f) { return f->state == State::at_shuffle; };
    if (!std::any_of(warp.begin(), warp.end(), shuffles)) continue;
    if (warp.size() < kWarp) {
      machine.error = "shuffle in a warp of " + std::to_string(warp.size()) + " threads";
      return false;
    }
    if (!release(warp, State::at_shuffle, "shuffle")) continue;
    for (int lane = 0; lane < kWarp; ++lane) {
      warp[lane]->received = warp[lane ^ warp[lane]->lane_mask]->word;
    }
    any = true;
  }
  return any;
}

// One pass over everything that may wait; false where nothing went on.
bool release_all(std::vector<Block>& blocks) {
  bool any = false;
  for (Block& block : blocks) {
    any = release_shuffles(block) || any;
    if (!machine.error.empty()) return false;
  }
  for (Block& block : blocks) {
    const auto blocked = [](Fiber* f) {
      return f->state == State::at_barrier || f->state == State::ended;
    };
    if (std::all_of(block.fibers.begin(), block.fibers.end(), blocked)) {
      any = release(block.fibers, State::at_barrier, "barrier") || any;
    } else if (!any) {
      const auto mixed = [](Fiber* f) { return f->state == State::at_barrier; };
      const auto free = [](Fiber* f) { return f->state == State::ready; };
      if (std::any_of(block.fibers.begin(), block.fibers.end(), mixed) &&
          std::none_of(block.fibers.begin(), block.fibers.end(), free)) {
        release(block.fibers, State::at_barrier, "barrier");
      }
    }
    if (!machine.error.empty()) return false;
  }
  for (size_t first = 0; first < blocks.size(); first += machine.launch->cluster) {
    std::vector<Fiber*> fibers;
    for (int i = 0; i < machine.launch->cluster; ++i) {
      fibers.insert(fibers.end(), blocks[first + i].fibers.begin(), blocks[first + i].fibers.end());
    }
    const auto waits = [](Fiber* f) { return f->state == State::at_cluster; };
    if (std::all_of(fibers.begin(), fibers.end(), waits)) {
      for (Fiber* f : fibers) f->state = State::ready;
      any = true;
    }
  }
  for (Block& block : blocks) {
    const auto may_go = [](Fiber* f) {
      return f->state == State::at_grid &&
             machine.grid_arrivals >= int64_t(f->generation) * machine.grid_size.x;
    };
    if (!std::all_of(block.fibers.begin(), block.fibers.end(), may_go)) continue;
    for (Fiber* f : block.fibers) f->state = State::ready;
    any = true;
  }
  return any;
}

// One warp of one block, the last that can go on; every other thread waits for it. In step, a barrier of
// one block would hold back all of them, and hide that another one is missing.
std::vector<Fiber*> one_warp(std::vector<Block>& blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const auto& fibers = block->fibers;
    const auto ready = std::find_if(fibers.rbegin(), fibers.rend(),
                                    [](Fiber* f) { return f->state == State::ready; });
    if (ready == fibers.rend()) continue;
    return warp_of(*block, (*ready)->thread.x / kWarp);
  }
  return {};
}

void run_blocks(int64_t first, int64_t count, std::vector<Fiber>& pool) {
  const Launch& launch = *machine.launch;
  std::vector<Block> blocks(count);
  std::vector<Fiber*> order;
  for (int64_t b = 0; b < count; ++b) {
    Block& block = blocks[b];
    block.index.x = static_cast<unsigned>(first + b);
    block.shared.assign(launch.shared, static_cast<char>(0xff));  // NaN in every float type
    block.cluster = &blocks[b - b % launch.cluster];
    for (int t = 0; t < launch.threads; ++t) {
      Fiber& fiber = pool[b * launch.threads + t];
      prepare(fiber, *machine.body);
      fiber.thread.x = t;
      fiber.block = &block;
      block.fibers.push_back(&fiber);
      order.push_back(&fiber);
    }
  }
  const bool ahead = order_seed == kOneWarpAhead;
  if (order_seed != 0 && !ahead) {
    std::shuffle(order.begin(), order.end(), std::mt19937(order_seed));
  }
  const auto ended = [](Fiber* f) { return f->state == State::ended; };
  for (;;) {
    const std::vector<Fiber*> turn = ahead ? one_warp(blocks) : order;
    bool went_on = false;
    for (Fiber* fiber : turn) {
      if (fiber->state != State::ready) continue;
      resume(*fiber);
      went_on = true;
      if (!machine.error.empty()) return;
    }
    if (!went_on && std::all_of(order.begin(), order.end(), ended)) return;
    if (!release_all(blocks) && !went_on) {
      if (machine.error.empty()) {
        machine.error = "threads wait for others that never come, one of them at " +
                        at((*std::find_if(order.begin(), order.end(), [](Fiber* f) {
                             return f->state != State::ended;
                           }))->place);
      }
      return;
    }
  }
}

}  // namespace

const uint3& thread_index() { return running->thread; }
const uint3& block_index() { return running->block->index; }
const dim3& block_size() { return machine.block_size; }
const dim3& grid_size() { return machine.grid_size; }
char* shared_memory() { return running->block->shared.data(); }

char* peer_memory(char* mine, int rank) {
  Block& block = *running->block;
  if (rank < 0 || rank >= machine.launch->cluster) fail("no such block in the cluster");
  const auto& fibers = block.cluster[rank].fibers;
  if (std::all_of(fibers.begin(), fibers.end(), [](Fiber* f) { return f->state == State::ended; })) {
    fail("the shared memory of a block that has ended");
  }
  return block.cluster[rank].shared.data() + (mine - block.shared.data());
}

void sync_block(const char* file, int line) { suspend(State::at_barrier, {file, line}); }

void sync_cluster() { suspend(State::at_cluster, {"the cluster's barrier", 0}); }

void arrive_grid() {
  if (!machine.launch->cooperative) fail("a grid barrier in a launch that is not cooperative");
  sync_block("arrival at the grid's barrier", 0);
  if (running->thread.x == 0) ++machine.grid_arrivals;
}

void wait_grid(unsigned generation) {
  running->generation = generation;
  suspend(State::at_grid, {"the grid's barrier", 0});
}

unsigned shuffle_xor(unsigned lanes, unsigned word, int mask, const char* file, int line) {
  if (lanes != 0xffffffffu) fail("a shuffle that names part of a warp");
  running->word = word;
  running->lane_mask = mask;
  suspend(State::at_shuffle, {file, line});
  return running->received;
}

// What a thread asks for once more, with a few loads between, it has from the first-level cache: packs
// past the end of a chunk are the last step's first one. Those bytes are not counted twice.
void trace(const void* place, int bytes, bool write, bool last) {
  auto& recent = running->last_reads;
  const bool cached = !write && std::find(recent.begin(), recent.end(), place) != recent.end();
  if (!write) recent[running->reads++ % recent.size()] = place;
  const std::string error = memory->touch(place, bytes, write, last, !cached);
  if (!error.empty()) fail(error);
}

void run(const Launch& launch, const std::function<void()>& body) {
  machine.launch = &launch;
  machine.body = &body;
  machine.block_size = dim3(launch.threads);
  machine.grid_size = dim3(static_cast<unsigned>(launch.blocks));
  machine.error.clear();
  machine.grid_arrivals = 0;
  ++memory->launches;
  const int64_t together = launch.cooperative ? launch.blocks : launch.cluster;
  if (launch.blocks % together != 0) {
    throw std::runtime_error(std::string(launch.name) + ": the grid is not a multiple of the cluster");
  }
  std::vector<Fiber> pool(together * launch.threads);
  const auto beside = [](int64_t block, int64_t edge) {
    return edge - edge_blocks <= block && block < edge + edge_blocks;
  };
  for (int64_t first = 0; first < launch.blocks && machine.error.empty(); first += together) {
    const bool edge = beside(first, 0) || beside(first, launch.blocks / 2) || beside(first, launch.blocks);
    if (edge_blocks == 0 || edge) run_blocks(first, together, pool);
  }
  for (Fiber& fiber : pool) retire(fiber);
  if (!machine.error.empty()) throw std::runtime_error(std::string(launch.name) + ": " + machine.error);
}

}  // namespace emulator
