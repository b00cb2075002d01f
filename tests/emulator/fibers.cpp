// The scheduler: see emulator.h.
#include <csetjmp>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "emulator.h"
#include "machine.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

unsigned order_seed = 0;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif
constexpr int kWarp = 32;

struct Place {
  const char* file = nullptr;
  int line = 0;
  bool operator==(const Place& other) const { return file == other.file && line == other.line; }
};

enum class State { ready, at_barrier, at_shuffle, at_cluster, at_grid, ended };

struct Block;

// A fiber starts by a switch of contexts and goes on by jumps, which need no system call;
// AddressSanitizer follows the former only.
struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  bool started = false;
  char* stack = nullptr;
  State state = State::ready;
  Place place;
  unsigned word = 0, received = 0, generation = 0;
  int lane_mask = 0;
  uint3 thread{};
  Block* block = nullptr;
#ifdef __SANITIZE_ADDRESS__
  void* fake_stack = nullptr;
#endif
};

struct Block {
  uint3 index{};
  std::vector<char> shared;
  std::vector<Fiber*> fibers;
  Block* cluster = nullptr;  // its first block
};

// Stacks are kept from launch to launch.
std::vector<char*> free_stacks;

char* take_stack() {
  if (!free_stacks.empty()) {
    char* stack = free_stacks.back();
    free_stacks.pop_back();
    return stack;
  }
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::runtime_error("emulator: no memory for another stack");
  return static_cast<char*>(stack);
}

struct Machine {
  const Launch* launch = nullptr;
  const std::function<void()>* body = nullptr;
  dim3 block_size, grid_size;
  ucontext_t scheduler;
  jmp_buf scheduler_jump;
  Fiber* current = nullptr;
  std::string error;
  int64_t grid_arrivals = 0;
#ifdef __SANITIZE_ADDRESS__
  void* scheduler_fake = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
#endif
};

Machine machine;

#ifdef __SANITIZE_ADDRESS__

void to_scheduler(bool ending) {
  Fiber* fiber = machine.current;
  __sanitizer_start_switch_fiber(ending ? nullptr : &fiber->fake_stack, machine.scheduler_stack,
                                 machine.scheduler_stack_bytes);
  swapcontext(&fiber->context, &machine.scheduler);
  __sanitizer_finish_switch_fiber(fiber->fake_stack, &machine.scheduler_stack,
                                  &machine.scheduler_stack_bytes);
}

void resume(Fiber& fiber) {
  machine.current = &fiber;
  __sanitizer_start_switch_fiber(&machine.scheduler_fake, fiber.stack, kStackBytes);
  swapcontext(&machine.scheduler, &fiber.context);
  __sanitizer_finish_switch_fiber(machine.scheduler_fake, nullptr, nullptr);
}

#else

void to_scheduler(bool) {
  if (_setjmp(machine.current->jump) == 0) _longjmp(machine.scheduler_jump, 1);
}

void resume(Fiber& fiber) {
  machine.current = &fiber;
  if (_setjmp(machine.scheduler_jump) != 0) return;
  if (fiber.started) _longjmp(fiber.jump, 1);
  fiber.started = true;
  swapcontext(&machine.scheduler, &fiber.context);
}

#endif

void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack,
                                  &machine.scheduler_stack_bytes);
#endif
  (*machine.body)();
  machine.current->state = State::ended;
  to_scheduler(true);
}

std::string at(const Place& place) {
  return std::string(place.file) + ":" + std::to_string(place.line);
}

// Ends the launch: the fiber never runs again.
void fail(const std::string& what) {
  const Fiber& fiber = *machine.current;
  machine.error = what + " (block " + std::to_string(fiber.block->index.x) + ", thread " +
                  std::to_string(fiber.thread.x) + ")";
  for (;;) to_scheduler(false);
}

void wait(State state, Place place) {
  machine.current->state = state;
  machine.current->place = place;
  to_scheduler(false);
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
    machine.current = f;
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
      if (fiber.stack == nullptr) fiber.stack = take_stack();
      fiber.state = State::ready;
      fiber.started = false;
      fiber.thread.x = t;
      fiber.block = &block;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack;
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, fiber_main, 0);
      block.fibers.push_back(&fiber);
      order.push_back(&fiber);
    }
  }
  if (order_seed != 0) std::shuffle(order.begin(), order.end(), std::mt19937(order_seed));
  for (;;) {
    size_t ended = 0;
    for (Fiber* fiber : order) {
      if (fiber->state == State::ready) resume(*fiber);
      if (!machine.error.empty()) return;
      ended += fiber->state == State::ended;
    }
    if (ended == order.size()) return;
    if (!release_all(blocks)) {
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

const uint3& thread_index() { return machine.current->thread; }
const uint3& block_index() { return machine.current->block->index; }
const dim3& block_size() { return machine.block_size; }
const dim3& grid_size() { return machine.grid_size; }
char* shared_memory() { return machine.current->block->shared.data(); }

char* peer_memory(char* mine, int rank) {
  Block& block = *machine.current->block;
  if (rank < 0 || rank >= machine.launch->cluster) fail("no such block in the cluster");
  return block.cluster[rank].shared.data() + (mine - block.shared.data());
}

void sync_block(const char* file, int line) { wait(State::at_barrier, {file, line}); }

void sync_cluster() { wait(State::at_cluster, {"the cluster's barrier", 0}); }

void arrive_grid() {
  if (!machine.launch->cooperative) fail("a grid barrier in a launch that is not cooperative");
  sync_block("arrival at the grid's barrier", 0);
  if (machine.current->thread.x == 0) ++machine.grid_arrivals;
}

void wait_grid(unsigned generation) {
  machine.current->generation = generation;
  wait(State::at_grid, {"the grid's barrier", 0});
}

unsigned shuffle_xor(unsigned lanes, unsigned word, int mask, const char* file, int line) {
  if (lanes != 0xffffffffu) fail("a shuffle that names part of a warp");
  machine.current->word = word;
  machine.current->lane_mask = mask;
  wait(State::at_shuffle, {file, line});
  return machine.current->received;
}

void trace(const void* place, int bytes, bool write, bool last) {
  const std::string error = memory->touch(place, bytes, write, last);
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
  for (int64_t first = 0; first < launch.blocks && machine.error.empty(); first += together) {
    run_blocks(first, together, pool);
  }
  for (Fiber& fiber : pool) {
    if (fiber.stack != nullptr) free_stacks.push_back(fiber.stack);
  }
  if (!machine.error.empty()) throw std::runtime_error(std::string(launch.name) + ": " + machine.error);
}

}  // namespace emulator
