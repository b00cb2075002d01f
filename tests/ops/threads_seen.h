// For ThreadSanitizer; the compiler puts it before each file (see the Makefile). The sanitizer does not know
// OpenMP's threads, and would take the beginning and the end of a parallel region for none. Here
// at::parallel_for starts threads that it does know, as many as PyTorch has, and divides the work among them
// however little it is, since a race needs two. So no report has to be suppressed.
#pragma once
#include <ATen/Parallel.h>

#include <thread>
#include <vector>

namespace at {

template <class F>
void seen_parallel_for(int64_t begin, int64_t end, int64_t /* grain */, const F& f) {
  static thread_local bool inside = false;
  const int64_t shares = inside ? 1 : std::min<int64_t>(get_num_threads(), end - begin);
  const auto share = [&](int64_t index) {
    inside = true;
    f(begin + (end - begin) * index / shares, begin + (end - begin) * (index + 1) / shares);
    inside = false;
  };
  if (inside || shares < 2) {
    if (begin < end) f(begin, end);
    return;
  }
  std::vector<std::thread> threads;
  for (int64_t index = 1; index < shares; ++index) threads.emplace_back(share, index);
  share(0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace at

#define parallel_for seen_parallel_for
