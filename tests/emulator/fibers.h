// The threads of the emulated machine: fibers that run, one at a time, until they wait or end.
#pragma once

#include <array>
#include <csetjmp>
#include <functional>

#include <ucontext.h>
#include <vector_types.h>

namespace emulator {

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
  void* fake_stack = nullptr;  // AddressSanitizer's
  const std::function<void()>* body = nullptr;
  State state = State::ready;
  Place place;
  unsigned word = 0, received = 0, generation = 0;
  int lane_mask = 0;
  uint3 thread{};
  std::array<const void*, 8> last_reads{};  // two packs of four tensors
  size_t reads = 0;
  Block* block = nullptr;
};

extern Fiber* running;

// Makes the fiber ready to run the body from its beginning.
void prepare(Fiber& fiber, const std::function<void()>& body);

// Runs it until it waits or ends.
void resume(Fiber& fiber);

// Called by the running fiber: back to whoever resumed it.
void suspend(State state, Place place);

// Its stack is free for the next launch.
void retire(Fiber& fiber);

}  // namespace emulator
