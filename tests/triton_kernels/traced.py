"""Traces the ops with ``torch.compile`` for a GPU that is not here, and prints one JSON line per graph.

It uses fake CUDA tensors and a stand-in for Triton's driver, in a process without TRITON_INTERPRET.
"""

import json
from unittest import mock

import torch
import triton
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget

import softgate_ext
from softgate_ext.ops import backend

ops = torch.ops.softgate_triton
EPS = 1e-5


def forward(x, low, branches, alpha, vectors, wide):
    y, z = softgate_ext.gated_residual_bn_relu(x, branches, alpha, *vectors, training=True)
    return y, softgate_ext.skip_merge_bn_relu(z, low, alpha, *wide, mode="concat")


def backward(x, low, branches, alpha, vectors, wide):
    needs = [True] * 5
    split = [b.shape[1] for b in branches]
    return ops.gated_residual_bn_relu_backward(
        x, x, x, x, alpha, *vectors, True, EPS, True, split, needs
    )


def main() -> None:
    driver = mock.MagicMock()
    driver.get_current_target.return_value = GPUTarget("cuda", 90, 32)
    triton.runtime.driver.set_active(driver)
    backend._AUTO["cuda"] = "triton"

    graphs = []

    def collect(module, inputs):
        graphs.append(module)
        return make_boxed_func(module.forward)

    with FakeTensorMode(), torch.no_grad(), torch.device("cuda"):
        x, low = torch.empty(2, 6, 4, 8), torch.empty(2, 2, 2, 4)
        branches = [torch.empty(2, 3, 4, 8) for _ in range(2)]
        vectors, wide = ([torch.empty(c) for _ in range(4)] for c in (6, 8))
        args = (x, low, branches, torch.empty(6), vectors, wide)
        for call in (forward, backward):
            for dynamic in (False, True):
                torch._dynamo.reset()
                compiler = aot_autograd(fw_compiler=collect, bw_compiler=collect)
                torch.compile(call, fullgraph=True, dynamic=dynamic, backend=compiler)(*args)
                nodes = [n for n in graphs.pop().graph.nodes if n.op == "call_function"]
                launches = [n for n in nodes if "triton_kernel_wrapper" in str(n.target)]
                opaque = [str(n.target) for n in nodes if "softgate" in str(n.target)]
                line = {
                    "call": call.__name__,
                    "dynamic": dynamic,
                    "written": [n.kwargs["tensors_to_clone"] for n in launches],
                    "opaque": opaque,
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
