"""Analysis of the instructions of a disassembled kernel: loops, divisions, loads and bytes in flight."""

import re

Code = list[tuple[int, str]]  # addresses and instructions


def loops(code: Code) -> list[tuple[int, int]]:
    """The loops of a kernel, as ranges of indices: from the target of a backward branch to the branch itself."""
    at = {address: place for place, (address, _) in enumerate(code)}
    back = []
    for place, (address, text) in enumerate(code):
        to = re.search(r"\bBRA\b.*0x([0-9a-f]+)", text)
        if to and int(to[1], 16) < address and int(to[1], 16) in at:
            back.append((at[int(to[1], 16)], place + 1))
    return back


def divides(code: Code, part: tuple[int, int]) -> bool:
    """Whether a part of a kernel divides: it has a reciprocal, or calls a subroutine for divisions.

    Subroutines are behind the last EXIT of the kernel. For sm_80 the compiler also uses calls to jump within the
    kernel, which are no divisions.
    """
    end = max((address for address, text in code if "EXIT" in text), default=0)
    for _, text in code[slice(*part)]:
        called = re.search(r"\bCALL\b.*0x([0-9a-f]+)", text)
        if "MUFU.RCP" in text or (called and int(called[1], 16) > end):
            return True
    return False


def wide(code: Code, way: str) -> int:
    """The number of 128-bit loads (``way`` is "load") from global memory, or of stores to it."""
    op = "LDG" if way == "load" else "STG"
    return sum(bool(re.search(rf"\b{op}\S*\.128\b", text)) for _, text in code)


def _registers(text: str) -> set[int]:
    return {int(r) for r in re.findall(r"\bR(\d+)\b", text)}


def loaded(text: str) -> set[int]:
    """The registers that a load writes."""
    op, first = re.search(r"\bLD\S*", text), re.search(r"\bR(\d+)\b", text)
    if op is None or first is None:
        return set()
    return set(range(int(first[1]), int(first[1]) + max(width(op[0]) // 32, 1)))


def reads(text: str) -> set[int]:
    """The registers that an instruction reads: all operands of a store, all but the first of others."""
    operands = re.sub(r"^@!?U?P\w+ +", "", text).partition(" ")[2]
    whole = text if re.search(r"\b(ST[GSL]?|BRA|RED)\b", text) else operands.partition(",")[2]
    return _registers(whole)


def bytes_before_use(loop: Code) -> int:
    """The maximum number of bytes that a thread has in flight in a loop before it uses the first load."""
    lines = [text for _, text in loop]
    most = 0
    for start, text in enumerate(lines):
        if "LDG" not in text:
            continue
        asked, size = set[int](), 0
        for line in lines[start:] + lines[:start]:
            if reads(line) & asked:
                break
            if op := re.search(r"\bLDG\S*", line):
                asked |= loaded(line)
                size += width(op[0]) // 8
        most = max(most, size)
    return most


def within(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether range `one` is a proper part of range `other`."""
    return one != other and other[0] <= one[0] and one[1] <= other[1]


def width(suffix: str) -> int:
    """The width of an access in bits, from the suffixes of its instruction (as in ``LDG.E.128``)."""
    found = re.search(r"\b[US]?(8|16|64|128|256)\b", suffix.replace(".", " "))
    return int(found[1]) if found else 32
