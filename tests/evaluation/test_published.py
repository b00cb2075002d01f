"""Published predictions, evaluated with their ground truth, give the published figures."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softgate_ext.cli.run import main
from softgate_ext.errors import InputError
from softgate_ext.evaluation.published import compare
from softgate_ext.pose.metrics import half_up

# As published for these predictions: the columns from Head to Ank, plain mean, weighted mean.
MPII_FIGURES = {
    "bearpaw_s2_best": "95.87 94.68 88.27 83.64 86.29 81.20 77.70 86.95 87.48",
    "bearpaw_s8_last": "96.79 95.19 90.08 85.32 87.48 84.26 80.73 88.64 89.09",
    "tompson15": "95.60 92.71 83.36 76.74 81.93 73.36 65.45 81.46 82.34",
    "newell_hg8": "95.94 95.19 89.14 84.17 86.97 83.20 80.37 87.98 88.43",
}
LSP_TOTALS = {
    "WangLiCVPR13": "54.6",
    "pishchulin13iccv": "57.1",
    "TompsonNIPS14": "72.3",
    "ChenYuilleNIPS14": "73.4",
    "YangCVPR16": "73.6",
    "BelagiannisZissermanARXIV16": "85.2",
    "LifshitzECCV16": "86.7",
    "PishchulinCVPR16": "87.1",
    "BulatTzimiropoulosECCV16": "90.7",
}
LSP_BULAT = "97.2 92.1 88.1 85.2 92.2 91.4 88.7"
FLIC_FIGURES = {
    "YangCVPR16": "91.6 88.8",
    "ChenYuilleNIPS14": "89.8 86.8",
    "NewellARXIV16": "98.0 95.5",
}


def rows(shared_data: Path, name: str) -> dict[str, dict[str, Any]]:
    path = shared_data / "reference_predictions" / name
    if not path.is_file():
        pytest.skip(f"needs the published predictions at {path}")
    return {row["name"]: row for row in compare(path).to_json()["rows"]}


def printed(row: dict[str, Any], digits: int) -> str:
    values = [*row["per_joint"].values(), row["mean"], row["weighted_mean"]]
    return " ".join(half_up(value, digits) for value in values)


def test_published_figures_of_mpii(shared_data: Path) -> None:
    measured = rows(shared_data, "mpii_valid.npz")
    assert {name: printed(measured[name], 2) for name in MPII_FIGURES} == MPII_FIGURES


def test_published_figures_of_lsp(shared_data: Path) -> None:
    measured = rows(shared_data, "lsp_test_pc.npz")
    totals = {name: f"{row['weighted_mean']:.1f}" for name, row in measured.items()}
    assert totals == LSP_TOTALS
    columns = measured["BulatTzimiropoulosECCV16"]["per_joint"].values()
    assert " ".join(f"{value:.1f}" for value in columns) == LSP_BULAT


def test_published_figures_of_flic(shared_data: Path) -> None:
    measured = rows(shared_data, "flic_test_oc.npz")
    columns = {name: row["per_joint"] for name, row in measured.items()}
    assert {k: " ".join(f"{x:.1f}" for x in v.values()) for k, v in columns.items()} == FLIC_FIGURES


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(**arrays: Any) -> Path:
        np.savez(tmp_path / "file.npz", **arrays)
        return tmp_path / "file.npz"

    return write


def mpii(people: int = 4, dtype: type = np.float32) -> dict[str, Any]:
    """Heads of 30 x 40 pixels, so a distance of 15 pixels is at the limit of PCKh@0.5."""
    gt = np.random.default_rng(0).integers(50, 400, (people, 16, 2)).astype(dtype)
    box = np.array([[100, 100], [130, 140]], dtype)
    return {"gt": gt, "headbox": np.repeat(box[None], people, 0), "pred_ours": gt + [9, 12]}


def only(path: Path) -> dict[str, Any]:
    (row,) = compare(path).to_json()["rows"]
    return row


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_the_limit_is_correct_in_every_dtype(save: Save, dtype: type) -> None:
    arrays = mpii(dtype=dtype)
    arrays["pred_beyond"] = arrays["gt"] + [9, 13]
    measured = {row["name"]: row for row in compare(save(**arrays)).to_json()["rows"]}
    assert measured["ours"]["weighted_mean"] == 100
    assert measured["ours"]["@0.1"]["weighted_mean"] == 0
    assert measured["beyond"]["weighted_mean"] == 0


def test_missing_joints_do_not_count_however_they_are_marked(save: Save) -> None:
    arrays = mpii()
    arrays["pred_ours"][:2, 5] += 100
    assert only(save(**arrays))["joints"]["left_ankle"] == 50
    for marked in ("missing", "nan", "zero"):
        changed = {key: value.copy() for key, value in arrays.items()}
        if marked == "missing":
            changed["missing"] = np.zeros((4, 16), np.uint8)
            changed["missing"][:2, 5] = 1
        else:
            changed["gt"][:2, 5] = np.nan if marked == "nan" else 0
        assert only(save(**changed))["joints"]["left_ankle"] == 100, marked


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
@pytest.mark.parametrize("name", ["missing", "jnt_missing"])
def test_what_is_missing_by_either_name_and_in_any_dtype(
    save: Save, name: str, dtype: type, turned: bool
) -> None:
    """`jnt_missing` (J, N) is what the ground truth of many MPII evaluations holds."""
    arrays = mpii()
    arrays["pred_ours"][:2, 5] += 100
    flags = np.zeros((4, 16), dtype)
    flags[:2, 5] = 1
    assert only(save(**arrays, **{name: flags.T if turned else flags}))["mean"] == 100
    assert only(save(**arrays, **{name: 0 * flags}))["joints"]["left_ankle"] == 50
    kept = np.zeros((4, 16), bool)
    kept[:, 5] = True
    both = {"missing": kept, "jnt_missing": flags}
    assert only(save(**arrays, **both))["joints"]["left_ankle"] is None


def test_visible_by_either_name(save: Save) -> None:
    arrays = mpii()
    arrays["pred_ours"][1:] += 100
    for name in ("visible", "jnt_visible"):
        for dtype in (bool, np.int32, np.float32):
            flags = np.zeros((4, 16), dtype)
            flags[0] = 1
            row = only(save(**arrays, **{name: flags.T}))
            assert row["visible"]["mean"] == 100 and row["hidden"]["mean"] == 0


def test_zero_is_a_place_where_the_file_says_what_is_missing(save: Save) -> None:
    arrays = {**mpii(), "missing": np.zeros((4, 16), bool)}
    arrays["gt"][0, 5] = 0
    assert only(save(**arrays))["joints"]["left_ankle"] == 75


def test_a_joint_that_was_not_predicted_is_wrong(save: Save) -> None:
    arrays = mpii()
    arrays["pred_ours"][0, 5] = np.nan
    assert only(save(**arrays))["joints"]["left_ankle"] == 75


def test_people_without_a_head_box_are_left_out(save: Save) -> None:
    arrays = mpii()
    arrays["headbox"][0] = np.nan
    arrays["pred_ours"][0] += 1000
    result = compare(save(**arrays))
    assert (result.people, result.left_out) == (3, 1)
    assert result.scores["ours"].pck.pooled == 100


def test_visible_joints_apart_and_arrays_of_other_kinds(save: Save) -> None:
    arrays = mpii()
    visible = np.zeros((4, 16))
    visible[0] = 1
    arrays["pred_ours"][1:] += 100
    names = np.array([{"a": 1}, None], object)
    row = only(save(**arrays, visible=visible, imgname=names, scale=np.ones(3)))
    assert row["visible"]["weighted_mean"] == 100 and row["hidden"]["weighted_mean"] == 0
    assert "visible" not in only(save(**arrays, visible=np.array(["a"])))
    assert "hidden" not in only(save(**arrays))


def test_boxes_as_corners_or_as_four_numbers(save: Save) -> None:
    arrays = mpii()
    flat = {**arrays, "headbox": arrays["headbox"].reshape(4, 4)}
    assert only(save(**flat)) == only(save(**arrays))


@pytest.mark.parametrize("name", ["gt_pc", "gt_oc", "gt"])
def test_lsp_by_its_fourteen_joints(save: Save, name: str) -> None:
    gt = np.zeros((3, 14, 2))
    gt[:, 9] = (6, 8)  # left shoulder to right hip: 10 pixels
    predicted = gt + [2, 0]
    predicted[0, 0] += 1
    result = compare(save(**{name: gt, "pred_a": predicted}))
    assert result.protocol.metric == "PCK@0.2"
    sides = {"gt_pc": "person-centric", "gt_oc": "observer-centric"}.get(name)
    assert result.to_json().get("labels") == sides
    assert result.scores["a"].pck.pooled == pytest.approx(100 * 41 / 42)


def test_flic_by_its_torso_boxes(save: Save) -> None:
    gt = np.zeros((2, 11, 2))
    predicted = gt + [9.99, 0]
    predicted[0, 1] += [0.02, 0]
    row = only(save(gt=gt, torso_wh=np.array([[30.0, 40]] * 2), pred_a=predicted))
    assert row["per_joint"] == {"Elb": 75, "Wri": 100}


def test_bad_files_say_what_is_wrong(save: Save, tmp_path: Path) -> None:
    arrays = mpii()
    with pytest.raises(InputError, match="No such file"):
        compare(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not a zip")
    np.save(tmp_path / "single.npy", arrays["gt"])
    whole = save(**arrays).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name in ("text.npz", "single.npy", "cut.npz", "damaged.npz"):
        with pytest.raises(InputError, match=f"reference: cannot read .*{name}"):
            compare(tmp_path / name)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("must hold gt and headbox", {"pred_a": arrays["gt"]}),
        ("must hold gt and headbox", {"gt": arrays["gt"], "pred_a": arrays["gt"]}),
        ("must hold gt and headbox", {"headbox": arrays["headbox"]}),
        (r"pred_ours .* shape \(4, 16, 2\), got \(3, 16, 2\)",
         {**arrays, "pred_ours": arrays["gt"][:3]}),
        (r"headbox .* shape \(4, 2, 2\), got \(4,\)", {**arrays, "headbox": np.ones(4)}),
        (r"missing .* shape \(4, 16\), got \(4,\)", {**arrays, "missing": np.ones(4)}),
        (r"jnt_missing .* shape \(4, 16\), got \(16,\)", {**arrays, "jnt_missing": np.ones(16)}),
        ("jnt_missing .* real numbers, got <U1",
         {**arrays, "jnt_missing": np.full((16, 4), "1")}),
        ("pred_ours .* real numbers, got complex",
         {**arrays, "pred_ours": arrays["gt"].astype(complex)}),
        ("arrays named pred_NAME, got none", {k: v for k, v in arrays.items() if k[0] != "p"}),
        ("no person whose", {**arrays, "headbox": np.full((4, 2, 2), np.nan)}),
        ("no person whose", mpii(people=0)),
        ("Object arrays cannot be loaded",
         {**arrays, "pred_ours": np.array([None, 1], object)}),
    ]  # fmt: skip
    for message, content in wrong:
        with pytest.raises(InputError, match=message) as caught:
            compare(save(**content))
        assert "\n" not in str(caught.value)


def test_command_line(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(**mpii(), pred_other=mpii()["gt"])
    assert main(["evaluate", "--reference", str(path)]) == 0
    text = capsys.readouterr().out
    assert "PCKh@0.5 of 4 people" in text and "100.00" in text and "weighted mean" in text
    assert main(["evaluate", "--reference", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["metric"] == "PCKh@0.5"
    assert [row["name"] for row in figures["rows"]] == ["ours", "other"]
    assert {"name", "per_joint", "mean", "weighted_mean"} <= set(figures["rows"][0])
    assert main(["evaluate", "run", "data", "--reference", str(path)]) == 2
    assert "give it alone" in capsys.readouterr().err


def test_a_bad_file_is_one_line_and_exit_code_2(save: Save) -> None:
    """By subprocess, where warnings and tracebacks would show."""
    command = [sys.executable, "-m", "softgate_ext.cli", "evaluate", "--json", "--reference"]
    done = subprocess.run([*command, str(save(x=np.ones(3)))], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("softgate: reference: ")
