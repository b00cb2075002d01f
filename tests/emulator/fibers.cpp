// Switching between fibers: see fibers.h.
#include "fibers.h"

#include <stdexcept>
#include <vector>

#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

Fiber* running = nullptr;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

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

ucontext_t scheduler;

#ifdef __SANITIZE_ADDRESS__

void* scheduler_fake = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_bytes = 0;

void to_scheduler(bool ending) {
  Fiber* fiber = running;
  __sanitizer_start_switch_fiber(ending ? nullptr : &fiber->fake_stack, scheduler_stack,
                                 scheduler_stack_bytes);
  swapcontext(&fiber->context, &scheduler);
  __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_stack, &scheduler_stack_bytes);
}

void to_fiber(Fiber& fiber) {
  __sanitizer_start_switch_fiber(&scheduler_fake, fiber.stack, kStackBytes);
  swapcontext(&scheduler, &fiber.context);
  __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
}

void arrive_in_fiber() {
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
}

#else

jmp_buf scheduler_jump;

void to_scheduler(bool) {
  if (_setjmp(running->jump) == 0) _longjmp(scheduler_jump, 1);
}

void to_fiber(Fiber& fiber) {
  if (_setjmp(scheduler_jump) != 0) return;
  if (fiber.started) _longjmp(fiber.jump, 1);
  fiber.started = true;
  swapcontext(&scheduler, &fiber.context);
}

void arrive_in_fiber() {}

#endif

void fiber_main() {
  arrive_in_fiber();
  (*running->body)();
  running->state = State::ended;
  to_scheduler(true);
}

}  // namespace

void prepare(Fiber& fiber, const std::function<void()>& body) {
  fiber.last_reads = {};
  if (fiber.stack == nullptr) fiber.stack = take_stack();
  fiber.state = State::ready;
  fiber.started = false;
  fiber.body = &body;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
}

void resume(Fiber& fiber) {
  running = &fiber;
  to_fiber(fiber);
}

void suspend(State state, Place place) {
  running->state = state;
  running->place = place;
  to_scheduler(false);
}

void retire(Fiber& fiber) {
  if (fiber.stack != nullptr) free_stacks.push_back(fiber.stack);
  fiber.stack = nullptr;
}

}  // namespace emulator
