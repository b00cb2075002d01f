"""The metric and the rules of each benchmark."""

import json

import numpy as np
import pytest

from softgate_ext.errors import InputError
from softgate_ext.pose.protocol import Protocol
from softgate_ext.pose.protocols import FLIC_PCK, LSP_PCK, PCKH, torso_pck
from softgate_ext.pose.skeleton import LSP, MPII, Skeleton


@pytest.mark.parametrize(
    ("protocol", "metric", "left_out"),
    [
        (PCKH, "PCKh@0.5", {"pelvis", "thorax"}),
        (LSP_PCK, "PCK@0.2", set()),
        (
            FLIC_PCK,
            "PCK@0.2",
            {"left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_eye", "right_eye"}
            | {"nose"},
        ),
    ],
)
def test_joints_that_count(protocol: Protocol, metric: str, left_out: set[str]) -> None:
    names = protocol.skeleton.joints
    assert protocol.metric == metric
    assert set(names) - {names[i] for i in protocol.members} == left_out


def test_columns_hold_only_joints_that_count() -> None:
    assert list(FLIC_PCK.columns) == ["Elb", "Wri"]
    assert list(PCKH.columns) == ["Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank"]


def distances() -> np.ndarray:
    """Two people: all joints of the first at 0.05, of the second at 0.45; one joint unlabelled."""
    result = np.repeat([[0.05], [0.45]], 16, 1)
    result[1, MPII.index("left_wrist")] = np.nan
    return result


def test_pelvis_and_thorax_do_not_enter_the_means() -> None:
    far = distances()
    far[:, [MPII.index("pelvis"), MPII.index("thorax")]] = 9
    result = PCKH.score(far)
    assert result.pck.mean == result.pck.pooled == 100
    assert result.pck.per_joint[MPII.index("pelvis")] == 0


def test_both_means_both_thresholds_and_the_area() -> None:
    result = PCKH.score(distances())
    fine = result.parts["@0.1"]
    assert fine.threshold == 0.1 and result.pck.threshold == 0.5
    assert fine.mean == pytest.approx(100 * (13 * 0.5 + 1) / 14)
    assert fine.pooled == pytest.approx(100 * 14 / 27)
    # Trapezoids over steps of 0.01: the step in which a joint becomes correct counts half.
    areas = [1 - 0.045 / 0.5, 1 - 0.445 / 0.5]
    assert result.parts["AUC"].pooled == pytest.approx(100 * (14 * areas[0] + 13 * areas[1]) / 27)


def test_visible_and_hidden_joints_are_measured_apart() -> None:
    visible = np.zeros((2, 16), bool)
    visible[0] = True
    result = PCKH.score(distances() * [[1], [2]], visible)
    shown, hidden = result.parts["visible"], result.parts["hidden"]
    assert (shown.pooled, hidden.pooled) == (100, 0)
    assert shown.counts.sum() + hidden.counts.sum() == 31
    assert list(result.parts) == ["@0.1", "AUC", "visible", "hidden"]
    assert list(PCKH.score(distances()).parts) == ["@0.1", "AUC"]
    with pytest.raises(InputError, match=r"visible must have shape \(2, 16\), got \(2,\)"):
        PCKH.score(distances(), visible[:, 0])


def test_json_has_every_figure_and_no_nan() -> None:
    nobody = distances()
    nobody[:, MPII.index("head_top")] = np.nan
    figures = json.loads(json.dumps(PCKH.score(nobody).to_json(), allow_nan=False))
    assert figures["per_joint"]["Head"] is None and figures["joints"]["head_top"] is None
    assert figures["mean"] == figures["weighted_mean"] == 100
    assert list(figures["joints"]) == list(MPII.joints)
    assert figures["@0.1"]["per_joint"]["Elb"] == 50


def test_other_joints_are_measured_as_lsp_is() -> None:
    assert torso_pck(LSP) == LSP_PCK
    assert len(torso_pck(MPII).members) == 16
    with pytest.raises(
        InputError, match=r"from left_shoulder to right_hip, .* \(the joints are thumb\)$"
    ):
        torso_pck(Skeleton("hand", ("thumb",), (), ()))
