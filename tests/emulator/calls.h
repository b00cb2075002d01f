// The door for the tests: a call of the CUDA launchers with the tensors it may touch, in the emulator
// (calls.cpp) or on a GPU (on_device.cu). The launchers are those of the extension.
#pragma once

#include "../../csrc/cuda/launch.h"
#include "../../csrc/cuda/model.h"

struct Tensor {
  const char* name;
  void* begin;
  int64_t bytes;
  // 1: an input, 2: one that is written too; on return 1 where every byte was written, as far as can be told
  int32_t written;
  int64_t read_bytes, write_bytes;
};

struct Options {
  softgate::cuda::Device device;
  int32_t variant;
  uint32_t order_seed;
  int64_t cache_bytes;  // 0: no cache
  int64_t edge_blocks;  // that run on either side of a grid's ends and middle; 0: all
  int32_t poison;       // 1: what the call has to write starts as NaN; 0: nobody has written it
  int32_t refuse_cooperative;  // 1: every cooperative launch is refused
  int32_t repeats;             // on a GPU: how often the call is launched again, to be timed
};

struct Report {
  int64_t read_bytes, write_bytes;  // of all tensors and the workspace
  int64_t device_bytes;             // behind the cache
  int64_t workspace_bytes;
  double predicted_bytes;           // of device memory, by the model
  int32_t launches;
  double microseconds;  // of one of the repeats
  char error[512];
};

// Fills the report and what the tensors say of themselves; 1 where the call failed.
template <class Call>
int run_call(const Call& call, const Options& options, Tensor* tensors, int count, Report& report);

extern "C" {

int run_forward(const softgate::Forward* call, const Options* options, Tensor* tensors, int count,
                Report* report) {
  return run_call(*call, *options, tensors, count, *report);
}

int run_backward(const softgate::Backward* call, const Options* options, Tensor* tensors, int count,
                 Report* report) {
  return run_call(*call, *options, tensors, count, *report);
}

int run_running(const softgate::Running* call, const Options* options, Tensor* tensors, int count,
                Report* report) {
  return run_call(*call, *options, tensors, count, *report);
}

// So that the tests notice where their copies of the structs have drifted.
int64_t size_of_forward() { return sizeof(softgate::Forward); }
int64_t size_of_backward() { return sizeof(softgate::Backward); }
int64_t size_of_running() { return sizeof(softgate::Running); }
int64_t size_of_options() { return sizeof(Options); }
int64_t size_of_report() { return sizeof(Report); }

}  // extern "C"
