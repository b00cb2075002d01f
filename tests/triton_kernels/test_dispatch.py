"""How calls reach the Triton kernels: backends, the dispatcher, graphs, and launches."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cases import Case, call, make_inputs, outputs_and_gradients
from processes import lines_of
from softgate_ext.triton_kernels import launch
from test_registration import CASES, arguments, backward_arguments, layouts, names

import softgate_ext
from softgate_ext import InputError, use_backend
from softgate_ext.ops import backend

ROOT = Path(__file__).parents[2]
SMALL = (2, 8, 2, 4)


def inputs_on(device: str, **options) -> tuple[Case, object]:
    case = Case(device=device, **options)
    return case, make_inputs(case).cast()


def checked_op(name: str, arguments: tuple) -> None:
    op = getattr(torch.ops.softgate_triton, name).default
    torch.library.opcheck(op, arguments, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@names
@layouts
def test_opcheck(name, channels_last, device):
    case = replace(CASES[name], size=SMALL, channels_last=channels_last, device=device)
    checked_op(name.split("-")[0], arguments(case))


@pytest.mark.slow
@names
def test_opcheck_of_backward(name, device):
    case = replace(CASES[name], size=SMALL, channels_last=True, device=device)
    checked_op(name.split("-")[0] + "_backward", backward_arguments(name, case))


def test_compiled_graph_calls_the_kernels(device):
    case, i = inputs_on(device, merge="add")
    eager = outputs_and_gradients(case, *call(case, i), i)
    torch._dynamo.reset()
    compiled = torch.compile(lambda i: call(case, i), fullgraph=True, backend="aot_eager")
    i = make_inputs(case).cast()
    got = outputs_and_gradients(case, *compiled(i), i)
    for name, want in eager.items():
        torch.testing.assert_close(got[name], want)


@pytest.mark.slow
def test_graph_shows_launches_that_write_their_outputs_only():
    """On a GPU the op dissolves into launches; none is taken to write one of its inputs."""
    lines = lines_of("traced.py")
    assert len(lines) == 4
    residual = [["y", "partial"], ["mean", "var"], ["z"]]
    backward = [["partial"], ["mean_g", "slope", "dweight", "dbias"]]
    backward += [["dx", "b0", "b1", "partial"], ["out"]]
    for line in lines:
        assert not line["opaque"]
        want = [*residual, ["y", "z"]] if line["call"] == "forward" else backward
        assert line["written"] == want


def test_interpreter_or_gpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(backend, "_interpreting", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with pytest.raises(InputError, match="'triton', which cannot serve here: torch sees no GPU"):
        use_backend("triton").__enter__()
    monkeypatch.setattr(backend, "_has_triton", False)
    assert softgate_ext.info()["backends"]["triton"] == "Triton is not installed"


def test_forced_on_a_device_that_it_does_not_serve(monkeypatch):
    monkeypatch.setattr(backend, "_forced", "triton")
    monkeypatch.setitem(backend._DEVICES, "triton", ("cuda", "xpu"))
    with pytest.raises(InputError, match="serves cuda or xpu tensors, got one on cpu"):
        softgate_ext.bn_relu(torch.ones(1, 1, 2, 2), None, None, training=True)


def on_a_gpu(code: str, cuda_built: bool = False, **env: str) -> str:
    """What code prints in a process that never had an extension, and takes a GPU to be there."""
    before = (
        "import sys, types, torch\n"
        "torch.cuda.is_available = lambda: True\n"
        "fake = types.ModuleType('softgate_ext._C')\n"
        f"fake.build_info = lambda: dict(cuda={cuda_built})\n"
        "fake.serve = lambda op: None\n"
        "sys.modules['softgate_ext._C'] = fake\n"
    )
    inherited = {k: v for k, v in os.environ.items() if k not in ("CC", "TRITON_INTERPRET")}
    done = subprocess.run(
        [sys.executable, "-c", before + code],
        env=inherited | env, capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    return done.stdout.strip()


PICKED = "from softgate_ext.ops import backend; print(backend.serving('cuda'))\n"
FORCED = """
from softgate_ext import InputError, info, use_backend
try:
    use_backend("triton").__enter__()
except InputError as error:
    print(error)
print(info()["backends"]["triton"])
"""


@pytest.mark.parametrize(("cuda_built", "picked"), [(True, "cuda"), (False, "triton")])
def test_auto_on_a_gpu(cuda_built, picked):
    """Without CUDA kernels a GPU gets Triton's."""
    assert on_a_gpu(PICKED, cuda_built) == picked


def test_auto_without_a_c_compiler(tmp_path):
    """Triton could not build its driver: not picked, and one sentence where it is forced."""
    nothing = {"PATH": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path)}
    picked, refusal, said = on_a_gpu(PICKED + FORCED, **nothing).splitlines()
    assert picked == "reference"
    assert "no C compiler was found" in said
    assert refusal.endswith(f"'triton', which cannot serve here: {said}")
    assert on_a_gpu(PICKED, **nothing, TRITON_INTERPRET="1") == "triton"


def test_import_touches_no_device():
    code = (
        "import torch\n"
        "def touched(*_): raise SystemExit('a device was touched')\n"
        "torch.cuda._lazy_init = torch.xpu._lazy_init = touched\n"
        "import softgate_ext, sys\n"
        "assert 'triton' not in sys.modules, 'Triton is imported before it is needed'\n"
        "import softgate_ext.triton_kernels\n"
        "assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


class Kernel:
    """Stands in for a kernel; notes which device was current at each launch."""

    def __init__(self, log: list):
        self.log = log

    def __getitem__(self, grid):
        return lambda *args, **options: self.log.append((grid, torch.cuda.current_device()))


def test_launch_makes_the_tensors_device_current(monkeypatch):
    current = [0]

    class Guard:
        def __init__(self, device):
            self.index, self.before = device.index, current[0]

        def __enter__(self):
            current[0] = self.index

        def __exit__(self, *_):
            current[0] = self.before

    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "device", Guard)
    log: list = []
    for index in (0, 1):
        tensor = SimpleNamespace(device=torch.device("cuda", index))
        launch.launch(Kernel(log), (7,), (None, tensor), 4)
    assert log == [((7,), 0), ((7,), 1)]
    assert current == [0]


@pytest.mark.skipif(not backend.interpreting(), reason="needs TRITON_INTERPRET=1")
def test_the_interpreter_runs_one_kernel_at_a_time(device, monkeypatch):
    """It patches triton.language while a kernel runs: two at a time would fail, now and then."""
    from triton.runtime.interpreter import InterpretedFunction

    run, running, most = InterpretedFunction.run, [], []

    def noted(self, *args, **options):
        running.append(self)
        most.append(len(running))
        time.sleep(0.005)  # lets the other threads go on
        run(self, *args, **options)
        running.pop()

    monkeypatch.setattr(InterpretedFunction, "run", noted)
    inputs = [torch.randn(2, c, 2, 4) for c in (1, 2, 3, 4)]
    with ThreadPoolExecutor(len(inputs)) as pool:
        got = pool.map(lambda x: softgate_ext.bn_relu(x, None, None, training=True), inputs)
    for x, z in zip(inputs, got, strict=True):
        want = torch.nn.functional.batch_norm(x, None, None, training=True).relu()
        torch.testing.assert_close(z, want)
    assert max(most) == 1


def test_wrong_input_is_refused_before_a_launch(device):
    x = torch.ones(2, 4, 2, 2, device=device)
    with pytest.raises(InputError, match="branches must have 4 channels in all, as x, got 3"):
        softgate_ext.gated_residual(x, [x[:, :3]])
