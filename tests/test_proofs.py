"""Proofs that are kept are passed over, and run again when anything that they follow from changes."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import proofs
import pytest
from proofs import PROOFS, Proof


@dataclass
class Item:
    """As much of a test as is asked for."""

    marks: dict[str, pytest.Mark]
    added: list[str] = field(default_factory=list)

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.marks.get(name)

    def add_marker(self, marker: pytest.MarkDecorator) -> None:
        self.added.append(marker.name)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one file of a proof that is kept."""
    (tmp_path / "csrc").mkdir()
    path = tmp_path / "csrc" / "kernel.cu"
    path.write_text("right")
    monkeypatch.setattr(proofs, "ROOT", tmp_path)
    monkeypatch.setattr(proofs, "KEPT", tmp_path / "proofs.json")
    (tmp_path / "proofs.json").write_text("{}\n")
    monkeypatch.setitem(PROOFS, "it", Proof(("csrc/*",), ("torch",), always=4))
    proofs.keep("it", proofs.digest(PROOFS["it"]))
    return path


def passed_over(*others: str) -> list[bool]:
    marks = {"proof": pytest.mark.proof("it").mark}
    marks |= {name: getattr(pytest.mark, name).mark for name in others}
    items = [Item(marks) for _ in range(8)]
    proofs.pass_over(items)  # type: ignore[arg-type]
    return [item.added == ["skip"] for item in items]


def test_what_is_kept_is_passed_over(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert passed_over() == [True] * 8
    assert passed_over("gpu") == [False] * 8
    monkeypatch.setenv("CI", "true")
    assert passed_over() == [False, True, True, True] * 2


@pytest.mark.parametrize("change", ["text", "name", "further file", "package", "program"])
def test_whatever_changes_runs_it_again(
    source: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "text":
        source.write_text("wrong")
    elif change == "name":
        source.rename(source.with_name("other.cu"))
    elif change == "further file":
        source.with_name("further.h").write_text("")
    elif change == "package":
        monkeypatch.setattr(proofs, "version", lambda name: "0.1")
    else:
        monkeypatch.setitem(PROOFS, "it", replace(PROOFS["it"], programs=("g++",)))
    assert passed_over() == [False] * 8
    proofs.keep("it", proofs.digest(PROOFS["it"]))
    assert any(passed_over())


def test_what_changes_meanwhile_is_not_kept(source: Path) -> None:
    before = proofs.digest(PROOFS["it"])
    source.write_text("changed while its tests ran")
    with pytest.raises(SystemExit, match="changed while its tests ran; run it again"):
        proofs.keep("it", before)
    assert passed_over() == [False] * 8


def test_a_file_in_conflict_keeps_nothing(source: Path) -> None:
    text = proofs.KEPT.read_text()
    proofs.KEPT.write_text(f"<<<<<<< HEAD\n{text}=======\n{{}}\n>>>>>>> other\n")
    assert passed_over() == [False] * 8
    proofs.keep("it", proofs.digest(PROOFS["it"]))
    assert any(passed_over())


@pytest.mark.parametrize("name", PROOFS)
def test_its_patterns_name_files(name: str) -> None:
    for pattern in PROOFS[name].files:
        assert proofs.paths_of(replace(PROOFS[name], files=(pattern,))), pattern
