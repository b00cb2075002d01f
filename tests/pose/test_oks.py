"""OKS and COCO's average precision against pycocotools on its own files."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import write_coco
from pycocotools.coco import COCO as Annotations
from pycocotools.cocoeval import COCOeval, Params

from softgate_ext.data.coco import read_coco
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.measure import protocol_for, score
from softgate_ext.pose.oks import COCO_SIGMAS, FIGURES, mean_similarity
from softgate_ext.pose.skeleton import COCO

Dataset = dict[str, Any]


def crowd(seed: int, names: list[str], missing: float = 0.1) -> tuple[Dataset, np.ndarray]:
    """Twelve pictures of one to four people of all sizes, some joints without a label; and joints
    (N, J, 3) found of them, at all distances, some at NaN."""
    rng = np.random.default_rng(seed)
    annotations, found = [], []
    for image in range(12):
        for _ in range(rng.integers(1, 5)):
            corner, extent = rng.uniform(0, 300, 2), rng.uniform(20, 200, 2)
            xy = (corner + rng.random((len(names), 2)) * extent).round()
            flags = rng.choice([0, 1, 2], len(names), p=[0.3, 0.2, 0.5])
            flags[0] = 2
            annotations.append(
                {
                    "id": len(annotations) + 500,
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [*corner, *extent],
                    "area": float(0.6 * extent.prod()),
                    "num_keypoints": int((flags > 0).sum()),
                    "keypoints": np.column_stack([xy * (flags > 0)[:, None], flags])
                    .ravel()
                    .tolist(),
                }
            )
            off = rng.normal(0, rng.uniform(0, 0.15) * np.sqrt(extent.prod()), xy.shape)
            joints = np.column_stack([xy + off, rng.random(len(names))])
            joints[rng.random(len(names)) < missing, :2] = np.nan
            found.append(joints)
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in range(12)]
    category = {"id": 1, "name": "person", "keypoints": names, "skeleton": []}
    contents = {"images": images, "annotations": annotations, "categories": [category]}
    return contents, np.array(found)


def by_pycocotools(
    path: Path, found: np.ndarray, sigmas: np.ndarray | None = None
) -> dict[str, float]:
    """The figures as a user of pycocotools gets them: from the dataset's file and one of results,
    missing joints at (0, 0) and a person's score the mean of the joints'."""
    truth = json.loads(path.read_text())["annotations"]
    results = [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": np.nan_to_num(joints).ravel().tolist(),
            "score": float(joints[:, 2].mean()),
        }
        for person, joints in zip(truth, found, strict=True)
    ]
    path.with_name("results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = Annotations(str(path))
        evaluation = COCOeval(
            annotations, annotations.loadRes(str(path.with_name("results.json"))), "keypoints"
        )
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(FIGURES, 100 * evaluation.stats, strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("own", [False, True], ids=["coco", "own sigmas"])
def test_figures_are_those_of_pycocotools(tmp_path: Path, seed: int, own: bool) -> None:
    names = ["paw", "ear", "tail", "snout", "knee"] if own else list(COCO.joints)
    contents, found = crowd(seed, names)
    path = write_coco(tmp_path / "annotations" / "val.json", contents)
    sigmas = np.linspace(0.02, 0.12, 5) if own else None
    expected = by_pycocotools(path, found, sigmas)
    people = read_coco(path, "test")
    protocol = protocol_for(people, "oks", () if sigmas is None else tuple(sigmas))
    result = score(found[..., :2], people, protocol, found[..., 2])
    assert result.precision == pytest.approx(expected, abs=1e-9)
    assert 5 < result.main == result.precision["AP"] < 95


def test_a_file_of_results_has_the_figures_of_pycocotools(tmp_path: Path) -> None:
    """By its own scores, in whatever order, and with the joints that it lacks at (0, 0)."""
    contents, found = crowd(7, list(COCO.joints))
    path = write_coco(tmp_path / "annotations" / "val.json", contents)
    expected = by_pycocotools(path, found)
    results = path.with_name("results.json")
    results.write_text(json.dumps(json.loads(results.read_text())[::-1]))
    figures = evaluate(EvalConfig(None, path, predictions=results, metric="oks"))
    assert figures.scores["predictions"].precision == pytest.approx(expected, abs=1e-9)


def test_nobody_of_a_size_has_no_figure_and_the_truth_has_100(tmp_path: Path) -> None:
    contents, _ = crowd(0, list(COCO.joints))
    for person in contents["annotations"]:
        person["area"] = 100.0**2
    people = read_coco(write_coco(tmp_path / "annotations" / "val.json", contents), "test")
    result = score(people.joints, people, protocol_for(people, "oks"))
    assert result.main == pytest.approx(100) and np.isnan(result.precision["APm"])
    figures = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert figures["APm"] is None and figures["APl"] == pytest.approx(100)
    nothing = score(np.full(people.joints.shape, np.nan), people, protocol_for(people, "oks"))
    assert nothing.main == 0 and nothing.pck.pooled == 0


def test_similarity_of_joints() -> None:
    sigmas = [0.1, 0.2]
    result = mean_similarity(np.array([[0.0, 0.4], [0.2, np.nan], [np.inf, np.nan]]), sigmas)
    expected = 100 * np.exp(-0.5)
    assert result.per_joint == pytest.approx([(100 + expected) / 3, expected])
    assert result.counts.tolist() == [3, 1]


def test_sigmas_are_coco_s() -> None:
    assert [*COCO_SIGMAS.values()] == pytest.approx(Params("keypoints").kpt_oks_sigmas, rel=1e-12)
