"""The code that nvcc makes of the kernels: no spills and 128-bit accesses, on every architecture."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "kernels.md"
# One a generation: with sm_86 and sm_89 the registers are within six of those with sm_80, and the table
# of `make sass` has them.
ARCHITECTURES = (80, 90, 100, 120)
ALWAYS = 90  # compiled whether or not docs/kernels.md has the result of these very sources
SYMBOL = (
    "_ZN8softgate4cuda11forward_mapINS0_6TilingIfLb0ELi4ELb0ELb0EEEEEvNS_7ForwardENS0_9WorkSplitE"
)
LOG = """\
ptxas info    : Compiling entry function '{symbol}' for 'sm_90'
    {stack} bytes stack frame, {spills} bytes spill stores, {spills} bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers
"""
SASS = """\
	Function : {symbol}
        /*0100*/                   LDG.E.{load} R4, desc[UR4][R2.64] ;
        /*0110*/                   {extra} [R2.64], R4 ;
        /*0120*/                   STG.E.EF.128 desc[UR4][R2.64], R4 ;
"""
HEALTHY = dict(stack=0, spills=0, registers=64, load="EF.128.CONSTANT", extra="STS.128")


@pytest.fixture(scope="module")
def sass():
    spec = importlib.util.spec_from_file_location("sass", ROOT / "csrc" / "cuda" / "sass.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sass"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    # Triton's are held by tests/triton_kernels/test_assembly.py.
    module.triton_kernels = lambda archs: {arch: [] for arch in archs}
    yield module
    del sys.modules["sass"]


def compiled(sass, **changes):
    kernels = {}
    facts = {**HEALTHY, **changes, "symbol": SYMBOL}
    sass.read_log(LOG.format(**facts), kernels)
    sass.read_sass(SASS.format(**facts), kernels)
    return list(kernels.values())


def test_reads_a_kernel(sass):
    (kernel,) = compiled(sass)
    assert kernel.title() == "forward_map | float32 | contiguous | 128 bits"
    assert (kernel.registers, kernel.blocks(90)) == (64, 4)
    assert kernel.widths["load 128"] == kernel.widths["store 128"] == 1
    assert list(kernel.faults(90)) == []


def loops(sass, body: int, around: int = 0, upsample2x: bool = False):
    """A kernel of y = f(x): two packs a step of a loop, which may be within another."""
    lines = ["LDG.E.EF.128 R4, desc[UR4][R2.64]"] * 2 + ["STG.E.128 desc[UR4][R2.64], R4"] * 2
    lines += ["FADD R1, R1, R1"] * (body - 5) + ["@P0 BRA 0x{inner:x}"]
    before = max(around - body, 0) // 2
    begin = 16 * (1 + before)
    if around:
        behind = around - body - before
        lines = ["NOP"] * before + lines + ["NOP"] * (behind - 1) + ["@P1 BRA 0x10"]
    lines = ["MOV R1, c[0x0][0x28]", *lines, "EXIT"]
    symbol = SYMBOL.replace("11forward_map", "14forward_reduce").replace(
        "Lb0ELi4ELb0", f"Lb1ELi4ELb{int(upsample2x)}"
    )
    kernels = {symbol: importlib.import_module("compiler_output").parse(symbol)}
    code = "".join(
        f"        /*{16 * i:04x}*/   {line.format(inner=begin)} ;\n" for i, line in enumerate(lines)
    )
    sass.read_sass(f"\tFunction : {symbol}\n{code}", kernels)
    kernels[symbol].registers = 64
    return kernels[symbol]


def test_counts_all_of_a_stream(sass):
    """Up to its end: a branch to itself and padding follow."""
    kernel = sass.Kernel("triton batch_norm._normalise", "float32", 4, lanes=4, streams=True)
    lines = ["LDG.E.128 R4, [R2]"] * 2 + ["FADD R1, R1, R1"] * 95 + ["STG.E.128 [R2], R4"] * 2
    lines += ["EXIT", "BRA 0x640", "NOP", "NOP"]
    code = "".join(f"        /*{16 * i:04x}*/   {line} ;\n" for i, line in enumerate(lines))
    sass.read_sass(f"\tFunction : stream\n{code}", {"stream": kernel})
    assert kernel.a_pack == 50


def test_counts_the_instructions_of_a_pack(sass):
    assert loops(sass, 180).a_pack == 90
    # Of an item of four packs: two steps of the inner loop, and once what is around it.
    assert loops(sass, 180, 240, upsample2x=True).a_pack == 90 + 60 // 4
    assert list(loops(sass, 220).faults(90)) == []
    assert list(loops(sass, 222).faults(90)) == ["111 instructions a pack, where 110 are the most"]
    assert list(loops(sass, 222, 238, upsample2x=True).faults(90)) == []


def test_counts_what_is_in_flight(sass):
    """Two packs a thread before the first is used, of four blocks of 256 threads."""
    kernel = loops(sass, 180)
    assert kernel.in_flight(90) == 2 * 16 * 256 * 4
    assert kernel.issue_share == pytest.approx(90 * 18.6 / (4 * 3 * 16 * 32))
    kernel.registers = 96
    assert list(kernel.faults(90)) == ["16 KiB in flight, where 32 are the least"]


@pytest.mark.parametrize("line", ["MUFU.RCP R6, R6", "CALL.REL.NOINC 0x4a30"])
def test_a_division_in_a_main_loop_is_a_fault(sass, line):
    kernel = loops(sass, 180)
    address, _ = kernel.code[10]
    kernel.code[10] = (address, line)
    assert list(kernel.faults(90)) == ["a division in its main loop"]


def test_a_jump_within_the_kernel_is_no_division(sass):
    kernel = loops(sass, 180)
    (end,) = (address for address, text in kernel.code if "EXIT" in text)
    kernel.code[10] = (kernel.code[10][0], f"@!P0 CALL.REL.NOINC 0x{end:x}")
    assert list(kernel.faults(90)) == []


def test_counts_trips_to_memory_before_a_loop(sass):
    """Loads that follow each other without a use between are one trip."""
    kernel = loops(sass, 180)
    loads = [(i, f"LDG.E R{10 + i}, desc[UR4][R2.64]") for i in range(3)]
    kernel.code[:0] = [*loads, (3, "FADD R1, R10, R12")]
    assert kernel.trips == 1
    chain = [(i, f"LDG.E R{11 + i}, desc[UR4][R{10 + i}.64]") for i in range(4)]
    kernel.code[:0] = chain
    assert kernel.trips == 4 and "4 trips to memory before its main loop" in kernel.faults(90)


def test_reads_a_kernel_that_finishes_sums(sass):
    kernel = importlib.import_module("compiler_output").parse(
        "_ZN8softgate4cuda14forward_finishIfEEvNS_7ForwardEiPKNS_7MomentsIT_EE"
    )
    assert kernel.title() == "forward_finish | float32 | channels | 32 bits"
    kernel.registers = 40
    assert list(kernel.faults(90)) == []
    kernel.spills = 4
    assert list(kernel.faults(90)) == ["4 bytes of spills, 0 of stack"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(spills=8), "16 bytes of spills, 0 of stack"),
        (dict(stack=24), "0 bytes of spills, 24 of stack"),
        (dict(load="64"), "no 128-bit load"),
        (dict(extra="ST.E.128"), "packs that are not known to be in global memory"),
        (dict(extra="STL.64"), "accesses to local memory"),
        (dict(extra="STG.E.U16"), "accesses of 8 or 16 bits"),
        (dict(registers=168), "only 1 block on a multiprocessor"),
    ],
)
def test_says_what_is_wrong(sass, monkeypatch, capsys, changes, words):
    monkeypatch.setattr(sass, "find_tool", lambda name: name)
    monkeypatch.setattr(sass, "compile_for", lambda *_: compiled(sass, **changes))
    monkeypatch.setattr(sass, "triton_kernels", lambda found: {arch: [] for arch in found})
    monkeypatch.setattr(sys, "argv", ["sass.py", "--arch", "90"])
    assert sass.main() == 1
    assert words in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_architecture(sass, monkeypatch, capsys, arch):
    """Nothing spills, and the table in docs is the present one (`make sass` writes it)."""
    if sass.find_tool("nvcc") is None or sass.find_tool("cuobjdump") is None:
        pytest.skip("needs nvcc and cuobjdump")
    text = PAGE.read_text()
    version = re.search(r"nvcc ([\d.]+)", text)
    same = version is not None and version[1] == sass.release(sass.find_tool("nvcc"))
    if same and arch != ALWAYS and f"sources {sass.digest()}" in text:
        pytest.skip(
            "needs other sources than docs/kernels.md was made from: of these it has the result"
        )
    monkeypatch.setattr(sys, "argv", ["sass.py", "--arch", str(arch)])
    assert sass.main() == 0, capsys.readouterr().out
    if same:
        assert column(text, arch) == column(capsys.readouterr().out, arch)


def column(text: str, arch: int) -> dict[str, str]:
    """Registers and blocks by kernel."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    at = rows[0].index(f"sm_{arch}")
    ours = (row for row in rows[1:] if not row[0].startswith("triton"))
    return {" | ".join(row[:4]): row[at] for row in ours}
