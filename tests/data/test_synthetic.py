import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from softgate_ext.data.images import image_size, read_image
from softgate_ext.data.lsp import read_lsp
from softgate_ext.data.synthetic import draw_people, draw_person, writer
from softgate_ext.data.synthetic.body import random_body
from softgate_ext.data.synthetic.clothes import random_outfit
from softgate_ext.data.synthetic.drawn_person import (
    OCCLUDER,
    DrawnPerson,
    joint_positions,
    occluded,
    project,
)
from softgate_ext.data.synthetic.paint import Canvas, Fabric
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import LSP


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def bodies(count: int = 300) -> list:
    return [random_body(np.random.default_rng((9, i))) for i in range(count)]


def test_official_layout(drawn: Path) -> None:
    joints = scipy.io.loadmat(drawn / "joints.mat")["joints"]
    assert joints.shape == (3, 14, 12)
    assert set(np.unique(joints[2])) == {0, 1}
    assert sorted(os.listdir(drawn / "images")) == [f"im{i:04d}.jpg" for i in range(1, 13)]
    people = read_lsp(drawn, "all")
    for path, pose in zip(people.image_paths, people.joints, strict=True):
        assert (pose > -0.5).all() and (pose < np.array(image_size(path)) - 0.5).all()


def test_the_same_request_gives_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    assert contents(draw_people(tmp_path / "again", count=12, seed=3)) == contents(drawn)
    header = (drawn / "joints.mat").read_bytes()[:116]
    assert header.rstrip() == b"MATLAB 5.0 MAT-file"  # and no date
    other = contents(draw_people(tmp_path / "other", count=2, seed=4))
    assert other["images/im0001.jpg"] != contents(drawn)["images/im0001.jpg"]


def test_more_people_begin_with_the_same(drawn: Path, tmp_path: Path) -> None:
    fewer = contents(draw_people(tmp_path / "fewer", count=3, seed=3))
    for i in (1, 2, 3):
        assert fewer[f"images/im000{i}.jpg"] == contents(drawn)[f"images/im000{i}.jpg"]


def test_the_same_folder_is_written_once_and_nothing_else_overwritten(tmp_path: Path) -> None:
    root = draw_people(tmp_path / "deep" / "people", count=2)
    before = root.stat().st_mtime_ns, (root / "joints.mat").stat().st_mtime_ns
    assert draw_people(root, count=2) == root
    assert (root.stat().st_mtime_ns, (root / "joints.mat").stat().st_mtime_ns) == before
    with pytest.raises(InputError, match="folder must be new or .* count 3"):
        draw_people(root, count=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years")
    with pytest.raises(InputError, match="folder must be new or"):
        draw_people(tmp_path / "mine", count=2)
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]
    with pytest.raises(InputError, match="folder must be new or"):
        draw_people(tmp_path / "mine" / "thesis.txt", count=2)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(read_lsp(draw_people(tmp_path / "empty", count=2), "all")) == 2


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    draw_people(tmp_path / "link", count=2)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "empty" / "joints.mat").is_file()


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "people", Path("/proc/people"), tmp_path / ("a" * 300)):
        with pytest.raises(InputError, match="folder .* cannot be written") as error:
            draw_people(folder, count=2)
        assert "\n" not in str(error.value)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="must not be the working folder"):
        draw_people(".", count=2)

    def full(path: Path, image: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_write_jpeg", full)
    with pytest.raises(InputError, match="No space left on device"):
        draw_people(tmp_path / "people", count=2)
    assert sorted(os.listdir(tmp_path)) == ["file", "here"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_people(tmp_path / "people", count=5, progress=fail)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(writer, "_mat_file", lambda joints: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_people(tmp_path / "people", count=2)
    assert os.listdir(tmp_path) == []


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[int] = []
    draw_people(tmp_path / "people", count=4, progress=seen.append)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("argument", "value"), [("count", 1), ("count", 10_000), ("seed", -1), ("image_size", 10)]
)
def test_bad_requests_are_named(tmp_path: Path, argument: str, value: int) -> None:
    request = {"count": 2, "seed": 0, "image_size": 180, argument: value}
    with pytest.raises(InputError, match=f"{argument}( must .*,|:) got {value}"):
        draw_people(tmp_path / "people", **request)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("image_size", [64, 180, 400])
def test_pictures_are_of_about_the_size_asked_for(image_size: int) -> None:
    longer = []
    for i in range(20):
        image, joints, hidden = draw_person(np.random.default_rng(i), image_size)
        assert image.dtype == np.uint8 and joints.shape == (14, 2) and hidden.shape == (14,)
        longer.append(max(image.shape))
    assert 0.85 * image_size < np.mean(longer) < 1.15 * image_size


def test_left_is_left_from_every_side() -> None:
    """Left, up and forward of the torso make a right-handed frame, as in living people."""
    front = back = 0
    for body in bodies():
        p = body.points
        left, up = p["left_shoulder"] - p["right_shoulder"], p["neck"] - p["pelvis"]
        assert np.linalg.det(np.stack([left, up, body.torso[:, 2]])) > 0
        facing = body.torso[2, 2] < -0.5  # towards the viewer
        away = body.torso[2, 2] > 0.5
        if up[1] < -0.2:  # upright: y points down
            assert not facing or left[0] > 0
            assert not away or left[0] < 0
        front, back = front + facing, back + away
    assert front > 100 and back > 40


def test_joints_bend_the_way_joints_do() -> None:
    for body in bodies():
        p = body.points
        for side in ("left", "right"):
            thigh = p[f"{side}_knee"] - p[f"{side}_hip"]
            shin = p[f"{side}_ankle"] - p[f"{side}_knee"]
            foot = p[f"{side}_toe"] - p[f"{side}_ankle"]
            # The knee takes the shin away from where the toes point.
            assert np.dot(thigh, foot) > -0.5 * np.linalg.norm(thigh) * np.linalg.norm(foot)
            upper = p[f"{side}_elbow"] - p[f"{side}_shoulder"]
            fore = p[f"{side}_wrist"] - p[f"{side}_elbow"]
            for a, b, limit in ((thigh, shin, 135), (upper, fore, 145)):
                cosine = np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
                assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) <= limit + 1e-6
            assert 0.7 < np.linalg.norm(thigh) / np.linalg.norm(shin) < 1.4


def test_occlusion_is_what_covers_the_joint() -> None:
    checked = 0
    for i in range(40):
        rng = np.random.default_rng((5, i))
        body = random_body(rng)
        points = {name: p + (150, 150, 0) for name, p in project(body, 120.0).items()}
        canvas = Canvas(np.zeros((300, 300, 3), np.float32), np.array([0.0, -0.6, -0.8]))
        DrawnPerson(body, points, 120.0, random_outfit(rng, 120.0)).paint(canvas)
        joints = joint_positions(points)
        before = occluded(canvas, joints)
        wrist, head = LSP.index("left_wrist"), LSP.index("head_top")
        if np.linalg.norm(joints - joints[wrist], axis=-1)[np.arange(14) != wrist].min() < 12:
            continue
        box = joints[wrist] + np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]])
        canvas.polygon(box, Fabric((255, 0, 0)), OCCLUDER)
        after = occluded(canvas, joints)
        assert after[wrist] and after[head] == before[head]
        np.testing.assert_array_equal(np.delete(after, wrist), np.delete(before, wrist))
        checked += 1
    assert checked > 15


def test_most_joints_are_seen_and_some_are_not() -> None:
    hidden = np.stack([draw_person(np.random.default_rng((2, i)), 180)[2] for i in range(60)])
    assert 0.05 < hidden.mean() < 0.25
    assert hidden.any(0).sum() > 10


def test_pictures_differ_and_use_the_whole_range(drawn: Path) -> None:
    images = [read_image(path) for path in read_lsp(drawn, "all").image_paths]
    means = np.array([image.mean((0, 1)) for image in images])
    assert means.std(0).min() > 10
    assert np.mean([image.std() for image in images]) > 30
