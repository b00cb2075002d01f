"""AP of prediction files equals that of pycocotools to the last digit."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import write_coco
from pycocotools.coco import COCO as Annotations
from pycocotools.cocoeval import COCOeval

from softgate_ext.cli.run import main
from softgate_ext.errors import InputError
from softgate_ext.evaluation.comparison import Comparison
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.pose.oks import FIGURES
from softgate_ext.pose.skeleton import COCO

Entry = dict[str, Any]
TOYS = ["paw", "ear", "tail"]


def flat(xy: np.ndarray, third: np.ndarray) -> list[float]:
    return np.column_stack([xy, third]).ravel().tolist()


def scene(seed: int, names: list[str], kinds: int = 1) -> tuple[dict[str, Any], list[Entry]]:
    """An annotation file with people, crowds and people without key points of all sizes, and pictures
    without anybody; and results with false positives, several for one person, more than 20 for a
    picture, and equal scores."""
    rng = np.random.default_rng(seed)
    annotations: list[Entry] = []
    results: list[Entry] = []

    def entry(annotation: Entry, off: float) -> Entry:
        joints = np.reshape(annotation["keypoints"], (-1, 3))[:, :2]
        if not joints.any():
            x, y, w, h = annotation["bbox"]
            joints = [x, y] + rng.random((len(names), 2)) * [w, h]
        joints = joints + rng.normal(0, off * np.sqrt(annotation["area"]), joints.shape)
        box = [*joints.min(0), *(joints.max(0) - joints.min(0)) * rng.uniform(0.8, 1.3)]
        return {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "keypoints": flat(joints, rng.random(len(names))),
            "score": round(rng.random(), 1),
            **({"bbox": box} if seed % 2 else {}),
        }

    pictures = rng.permutation(900)[:14].tolist()
    for picture in pictures[:11]:
        for _ in range(rng.integers(1, 6)):
            corner, extent = rng.uniform(0, 300, 2), rng.uniform(20, 200, 2)
            kind = rng.choice(["person", "crowd", "bare", "labelled crowd"], p=[0.7, 0.1, 0.1, 0.1])
            flags = rng.choice([0, 1, 2], len(names), p=[0.3, 0.2, 0.5])
            flags[0] = 2
            if kind in ("crowd", "bare"):
                flags[:] = 0
            xy = corner + rng.random((len(names), 2)) * extent
            annotation = {
                "id": 7000 - len(annotations),
                "image_id": picture,
                "category_id": int(rng.integers(1, kinds + 1)),
                "iscrowd": int("crowd" in kind),
                "bbox": [*corner, *extent],
                "area": float(
                    rng.choice([32.0**2, 96.0**2, 0.6 * extent.prod()], p=[0.1, 0.1, 0.8])
                ),
                "num_keypoints": int((flags > 0).sum()),
                "keypoints": flat(xy * (flags > 0)[:, None], flags),
            }
            annotations.append(annotation)
            for _ in range(rng.choice([0, 1, 3], p=[0.1, 0.6, 0.3])):
                results.append(entry(annotation, rng.uniform(0, 0.15)))
    for picture in pictures:  # nobody is there, or nobody that is labelled
        stranger = dict(annotations[rng.integers(len(annotations))], image_id=picture)
        results.append(entry(stranger, 0.5))
    results += [entry(annotations[0], rng.uniform(0, 0.2)) for _ in range(25)]
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in pictures]
    categories = [
        {"id": i, "name": f"kind {i}", "keypoints": names, "skeleton": []}
        for i in range(1, kinds + 1)
    ]
    contents = {"images": images, "annotations": annotations, "categories": categories}
    return contents, [results[i] for i in rng.permutation(len(results))]


def by_pycocotools(
    annotations: Path, results: Path, sigmas: list[float] | None = None
) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = Annotations(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = (None if value < 0 else 100 * value for value in evaluation.stats.tolist())
    return dict(zip(FIGURES, values, strict=True))


def files(folder: Path, contents: dict[str, Any], results: Any) -> tuple[Path, Path]:
    path = write_coco(folder / "annotations" / "toys_val.json", contents)
    saved = folder / "results.json"
    saved.write_text(json.dumps(results))
    return path, saved


def measured(path: Path, results: Path, sigmas: tuple[float, ...] = ()) -> Comparison:
    return evaluate(
        EvalConfig(None, path, predictions=results, metric="oks", oks_sigmas=sigmas, json=None)
    )


def precision(comparison: Comparison) -> dict[str, Any]:
    """The figures; None for those of sizes that nobody has."""
    figures = comparison.scores["predictions"].precision
    return {name: None if np.isnan(value) else value for name, value in figures.items()}


@pytest.mark.parametrize("seed", range(10))
def test_figures_are_those_of_pycocotools(tmp_path: Path, seed: int) -> None:
    contents, results = scene(seed, list(COCO.joints))
    path, saved = files(tmp_path, contents, results)
    found = precision(measured(path, saved))
    assert found == by_pycocotools(path, saved)
    assert 0 < found["AP"] < 90


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("own", [False, True], ids=["the user's", "the file's"])
def test_sigmas_of_the_user_and_of_the_file(tmp_path: Path, seed: int, own: bool) -> None:
    sigmas = [0.05, 0.1, 0.08]
    contents, results = scene(seed, TOYS)
    if own:
        contents["categories"][0]["sigmas"] = sigmas
    path, saved = files(tmp_path, contents, results)
    given = () if own else tuple(sigmas)
    assert precision(measured(path, saved, given)) == by_pycocotools(path, saved, sigmas)


@pytest.mark.parametrize("seed", range(4))
def test_each_of_several_categories_by_itself(tmp_path: Path, seed: int) -> None:
    """The mean of them, as of the species of AP-10K."""
    contents, results = scene(seed, TOYS, kinds=3)
    path, saved = files(tmp_path, contents, results)
    sigmas = [0.1, 0.1, 0.1]
    assert precision(measured(path, saved, (*sigmas,))) == by_pycocotools(path, saved, sigmas)


def test_categories_of_a_whole_object_go_by_their_names(tmp_path: Path) -> None:
    """Programs that write all of COCO's object count categories as they like."""
    contents, results = scene(4, TOYS, kinds=3)
    path, saved = files(tmp_path, contents, results)
    sigmas = (0.1, 0.1, 0.1)
    expected = by_pycocotools(path, saved, [*sigmas])
    kinds = [dict(kind, id=kind["id"] % 3 + 1) for kind in contents["categories"]]
    entries = [dict(entry, category_id=entry["category_id"] % 3 + 1) for entry in results]
    whole = {"images": contents["images"], "categories": kinds, "annotations": entries}
    saved.write_text(json.dumps(whole))
    assert precision(measured(path, saved, sigmas)) == expected
    saved.write_text(json.dumps(entries))  # without the names, ids are all there is
    assert precision(measured(path, saved, sigmas)) != expected


def test_a_list_of_one_picture_keeps_boxes_and_categories(tmp_path: Path) -> None:
    """As mmpose writes it, its boxes by their corners, the picture told by the name of the file."""
    contents, results = scene(3, TOYS, kinds=3)
    picture = results[-1]["image_id"]
    for entry in results:  # all of them in one, so that there is enough to tell apart
        entry["image_id"] = picture
    for annotation in contents["annotations"]:
        annotation["image_id"] = picture
    own = []
    for entry in results:
        x, y, w, h = entry["bbox"]
        joints = np.reshape(entry["keypoints"], (3, 3))
        entry["score"] = joints[:, 2].mean()
        own.append(
            {
                "keypoints": joints[:, :2].tolist(),
                "keypoint_scores": joints[:, 2].tolist(),
                "bbox": [[x, y, x + 2 * w, y + h / 3]],
                "category_id": entry["category_id"],
            }
        )
        entry["bbox"] = [x, y, 2 * w, h / 3]
    path, saved = files(tmp_path, contents, results)
    sigmas = (0.1, 0.1, 0.1)
    expected = by_pycocotools(path, saved, [*sigmas])
    listed = tmp_path / f"{picture:012d}.json"
    listed.write_text(json.dumps(own))
    assert precision(measured(path, listed, sigmas)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("form", ["npz", "json"])
def test_categories_of_arrays(tmp_path: Path, form: str) -> None:
    contents, results = scene(4, TOYS, kinds=3)
    path, saved = files(tmp_path, contents, results)
    sigmas = (0.1, 0.1, 0.1)
    expected = by_pycocotools(path, saved, [*sigmas])
    columns = {name: [e[name] for e in results] for name in ("image_id", "category_id", "score")}
    columns["preds"] = np.reshape([e["keypoints"] for e in results], (-1, 3, 3)).tolist()
    columns["category_id"].append(9)
    for name in ("image_id", "score", "preds"):
        columns[name].append(columns[name][0])
    saved = tmp_path / f"arrays.{form}"
    if form == "npz":
        np.savez(saved, **{name: np.array(values) for name, values in columns.items()})
    else:
        saved.write_text(json.dumps(columns))
    result = measured(path, saved, sigmas)
    assert precision(result) == expected
    left_out = (
        f"1 entry of a category that the data do not have is left out: number {len(results) + 1}"
    )
    assert left_out in result.notes


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": [0, 0, 0, 0]},  # a place without a box
        {"box": [5, 5, 2, 2]},  # as AlphaPose calls it, which COCO does not look at
        {"id": 3},
        {"num_keypoints": 17, "area": 0},
    ],
    ids=["boxes without a size", "other names of boxes", "one id", "more fields"],
)
def test_fields_of_results(tmp_path: Path, change: Entry) -> None:
    contents, results = scene(2, list(COCO.joints))
    path, saved = files(tmp_path, contents, [{**entry, **change} for entry in results])
    assert precision(measured(path, saved)) == by_pycocotools(path, saved)


def test_counts_of_key_points_are_the_file_s(tmp_path: Path) -> None:
    """Who has key points and a `num_keypoints` of 0 is ignored."""
    contents, results = scene(4, list(COCO.joints))
    for annotation in contents["annotations"][::3]:
        annotation["num_keypoints"] = 0
    path, saved = files(tmp_path, contents, results)
    assert precision(measured(path, saved)) == by_pycocotools(path, saved)


def test_ids_that_are_text_and_annotations_without_what_is_not_needed(tmp_path: Path) -> None:
    contents, results = scene(5, list(COCO.joints))
    for image in contents["images"]:
        image["id"] = f"p{image['id']}"
    for entry in (*contents["annotations"], *results):
        entry["image_id"] = f"p{entry['image_id']}"
    path, saved = files(tmp_path, contents, results)
    expected = by_pycocotools(path, saved)
    assert precision(measured(path, saved)) == expected
    for annotation in contents["annotations"]:
        del annotation["num_keypoints"]
        if not annotation["iscrowd"]:
            del annotation["iscrowd"]
        if not any(annotation["keypoints"]):
            del annotation["keypoints"]
    assert precision(measured(*files(tmp_path, contents, results))) == expected


def test_ids_of_0_and_twice_are_people_like_others(tmp_path: Path) -> None:
    contents, results = scene(6, list(COCO.joints))
    path, saved = files(tmp_path, contents, results)
    expected = by_pycocotools(path, saved)
    for i, annotation in enumerate(contents["annotations"]):
        annotation["id"] = i // 2
    result = measured(*files(tmp_path, contents, results))
    assert precision(result) == expected
    assert any("ids are 0 or given twice" in note for note in result.notes)


@pytest.mark.parametrize("seed", range(4))
def test_joints_go_by_their_names(tmp_path: Path, seed: int) -> None:
    """In another order, then without one of them; and pictures by theirs."""
    contents, results = scene(seed, TOYS)
    path, saved = files(tmp_path, contents, results)
    sigmas = (0.05, 0.1, 0.08)
    expected = by_pycocotools(path, saved, [*sigmas])
    names = {image["id"]: image["file_name"] for image in contents["images"]}
    order = [2, 0, 1]
    ours = [
        {
            "image": names[entry["image_id"]],
            "score": entry["score"],
            "joints": np.reshape(entry["keypoints"], (3, 3))[order].tolist(),
            **({"bbox": entry["bbox"]} if "bbox" in entry else {}),
        }
        for entry in results
    ]
    saved.write_text(json.dumps({"joint_names": [TOYS[i] for i in order], "predictions": ours}))
    assert precision(measured(path, saved, sigmas)) == expected
    for entry in (*contents["annotations"], *results):  # as if tails did not exist
        entry["keypoints"] = entry["keypoints"][:6]
    reference = files(tmp_path / "two", contents, results)
    expected = by_pycocotools(*reference, [*sigmas[:2]])
    for entry in ours:
        entry["joints"] = entry["joints"][1:]
    saved.write_text(json.dumps({"joint_names": TOYS[:2], "predictions": ours}))
    result = measured(path, saved, sigmas)
    assert any("not among the joints of these predictions" in note for note in result.notes)
    assert precision(result) == expected


def test_what_was_counted_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents, results = scene(8, list(COCO.joints))
    path, saved = files(tmp_path, contents, results)
    annotations = contents["annotations"]
    ignored = sum(a["iscrowd"] or not a["num_keypoints"] for a in annotations)
    people = len(annotations) - ignored
    pictures = [entry["image_id"] for entry in results]
    beyond = sum(max(pictures.count(i) - 20, 0) for i in set(pictures))
    assert ignored and beyond
    assert main(["evaluate", str(path), "--predictions", str(saved), "--metric", "oks"]) == 0
    text = capsys.readouterr().out
    assert (
        f"AP and AR: {len(results)} predictions of 14 pictures against {people} people, false "
        f"positives included; {ignored} crowds or people without key points are ignored, and so are "
        "predictions that lie on them"
    ) in text
    assert (
        f"{beyond} predictions beyond the 20 with the highest scores in their pictures do not count in AP"
        in text
    )
    assert "not used" not in text and "at most one prediction" not in text
    told = measured(path, saved).to_json()["counted"]
    assert told == {"entries": len(results), "people": people, "ignored": ignored}


def test_strangers_in_the_dataset_s_pictures_are_an_ap_of_0(tmp_path: Path) -> None:
    contents, results = scene(9, list(COCO.joints))
    empty = contents["images"][-1]["id"]
    far = [entry for entry in results if entry["image_id"] == empty]
    path, saved = files(tmp_path, contents, far)
    assert precision(measured(path, saved)) == by_pycocotools(path, saved)
    assert precision(measured(path, saved))["AP"] == 0
    saved.write_text(json.dumps([dict(entry, image_id=5000) for entry in far]))
    with pytest.raises(InputError, match="has people of 5000 and no person of toys_val-test"):
        measured(path, saved)


def test_entries_of_other_pictures_and_categories_are_left_out_and_said(tmp_path: Path) -> None:
    contents, results = scene(3, list(COCO.joints))
    path, saved = files(tmp_path, contents, results)
    expected = by_pycocotools(path, saved)
    contents["categories"].append({"id": 9, "name": "chair"})
    others = [dict(results[0], image_id=5000), *[dict(results[1], category_id=9)] * 2]
    result = measured(*files(tmp_path, contents, [*results, *others]))
    assert precision(result) == expected
    said = " ".join(result.notes)
    assert "1 prediction is not used, because toys_val-test does not have" in said
    assert "2 entries of a category that the data do not have are left out: number " in said


def test_areas_that_are_not_stated_are_of_the_box(tmp_path: Path) -> None:
    contents, results = scene(1, list(COCO.joints))
    for annotation in contents["annotations"]:
        annotation["area"] = 0.53 * annotation["bbox"][2] * annotation["bbox"][3]
    path, saved = files(tmp_path, contents, results)
    expected = by_pycocotools(path, saved)
    for annotation in contents["annotations"]:
        del annotation["area"]
    result = measured(*files(tmp_path, contents, results))
    assert precision(result) == pytest.approx(expected, abs=1e-9)
    assert any("have no area above 0; 0.53 of the box" in note for note in result.notes)


def test_other_predictions_say_that_false_positives_are_not_counted(
    tmp_path: Path, run: Path, people: Path
) -> None:
    contents, _ = scene(0, TOYS)
    path, saved = files(tmp_path, contents, [])
    config = EvalConfig(run, people, metric="oks", oks_sigmas=(0.1,) * 14, workers=0, device="cpu")
    held = [a for a in contents["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    saved.write_text(json.dumps([a["keypoints"] for a in held]))
    by_order = measured(path, saved, (0.1, 0.1, 0.1))
    assert precision(by_order)["AP"] == pytest.approx(100)
    for result, names, count in (
        (by_order, "predictions", len(held)),
        (evaluate(config), "network and mean pose", 8),
    ):
        assert result.notes[-1] == (
            f"AP and AR of {names}: at most one prediction counts for each of {count} people; "
            "false positives, crowds and people without key points do not count"
        )
        assert "counted" not in result.to_json()
