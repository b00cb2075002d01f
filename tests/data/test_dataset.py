import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from softgate_ext.data.augment import Augmentation
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.lsp import read_lsp
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.pose.geometry import apply_affine, invert_affine
from softgate_ext.pose.skeleton import LSP


@pytest.fixture
def people(drawn: Path) -> PoseSet:
    return read_lsp(drawn, "all")


def stacked(loader: DataLoader) -> dict[str, torch.Tensor]:
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_items(people: PoseSet) -> None:
    dataset = PoseDataset(people, image_size=96)
    assert len(dataset) == 12
    item = dataset[4]
    assert {key: (tuple(value.shape), value.dtype) for key, value in item.items()} == {
        "image": ((3, 96, 96), torch.uint8),
        "joints": ((14, 2), torch.float32),
        "weights": ((14,), torch.float32),
        "matrix": ((2, 3), torch.float64),
        "index": ((), torch.int64),
    }
    assert item["index"] == 4 and item["weights"].all()
    with pytest.raises(IndexError):
        dataset[12]


def test_joints_lead_back_to_the_image_and_flips_change_names(people: PoseSet) -> None:
    dataset = PoseDataset(people, 128, Augmentation(flip=0.5), seed=1)
    flips = 0
    for i in range(len(people)):
        item = dataset[i]
        back = apply_affine(invert_affine(item["matrix"]), item["joints"])
        mirrored = bool(torch.linalg.det(item["matrix"][:, :2]) < 0)
        flips += mirrored
        expected = people.joints[i][list(LSP.flip_permutation)] if mirrored else people.joints[i]
        np.testing.assert_allclose(back, expected, atol=1e-3)
    assert 0 < flips < len(people)


def test_crop_shows_what_the_matrix_says(people: PoseSet) -> None:
    """Without colour changes, a crop resembles the source at the joints it maps."""
    plain = PoseDataset(people, 256)
    changed = PoseDataset(people, 256, Augmentation(colour=0, flip=1), seed=2)
    for i in range(4):
        a, b = plain[i], changed[i]
        both = (a["weights"] > 0) & (b["weights"][list(LSP.flip_permutation)] > 0)
        order = list(LSP.flip_permutation)
        for j in torch.nonzero(both)[:, 0].tolist():
            # the same joint of the person, at its place in either crop
            xa, ya = a["joints"][j].round().int().clamp(4, 251).tolist()
            xb, yb = b["joints"][order[j]].round().int().clamp(4, 251).tolist()
            patch_a = a["image"][:, ya - 4 : ya + 5, xa - 4 : xa + 5].float().mean((1, 2))
            patch_b = b["image"][:, yb - 4 : yb + 5, xb - 4 : xb + 5].float().mean((1, 2))
            assert (patch_a - patch_b).abs().max() < 30


def test_joints_off_the_crop_weigh_nothing(people: PoseSet) -> None:
    dataset = PoseDataset(people, 64, Augmentation(scale=0.9, rotation=180), seed=0)
    weights, joints = [], []
    for epoch in range(5):
        dataset.set_epoch(epoch)
        weights += [dataset[i]["weights"] for i in range(12)]
        joints += [dataset[i]["joints"] for i in range(12)]
    at, weight = torch.stack(joints), torch.stack(weights)
    inside = ((at >= -0.5) & (at < 63.5)).all(-1)
    assert (weight == inside).all() and 0 < weight.mean() < 1


def test_unlabelled_joints_weigh_nothing_and_flip_with_their_side(people: PoseSet) -> None:
    people.labelled[:, LSP.index("left_wrist")] = False
    flipped = PoseDataset(people, 256, Augmentation(scale=0, rotation=0, flip=1))[0]["weights"]
    plain = PoseDataset(people, 256)[0]["weights"]
    assert torch.nonzero(plain == 0).flatten().tolist() == [LSP.index("left_wrist")]
    assert torch.nonzero(flipped == 0).flatten().tolist() == [LSP.index("right_wrist")]


def test_randomness_depends_on_seed_epoch_and_index_alone(people: PoseSet) -> None:
    def images(seed: int, epoch: int, workers: int) -> torch.Tensor:
        dataset = PoseDataset(people, 48, Augmentation(), seed)
        dataset.set_epoch(epoch)
        np.random.seed(workers)  # noqa: NPY002 - global state must not matter
        torch.manual_seed(workers)
        return stacked(DataLoader(dataset, batch_size=5, num_workers=workers))["image"]

    first = images(seed=0, epoch=0, workers=0)
    assert torch.equal(images(seed=0, epoch=0, workers=2), first)
    assert not torch.equal(images(seed=0, epoch=1, workers=0), first)
    assert not torch.equal(images(seed=1, epoch=0, workers=0), first)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_new_epoch_reaches_persistent_workers(people: PoseSet, start: str) -> None:
    dataset = PoseDataset(people, 48, Augmentation(), seed=0)
    loader: DataLoader = DataLoader(
        dataset, batch_size=4, num_workers=2, persistent_workers=True,
        multiprocessing_context=start,
    )  # fmt: skip
    for epoch in (0, 1, 5):
        dataset.set_epoch(epoch)
        alone = PoseDataset(people, 48, Augmentation(), seed=0)
        alone.set_epoch(epoch)
        expected = torch.stack([alone[i]["image"] for i in range(len(people))])
        assert torch.equal(stacked(loader)["image"], expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named(drawn: Path, tmp_path: Path, workers: int) -> None:
    root = tmp_path / "people"
    shutil.copytree(drawn, root)
    path = root / "images" / "im0003.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    loader: DataLoader = DataLoader(PoseDataset(read_lsp(root, "all"), 48), num_workers=workers)
    with pytest.raises(InputError, match=r"im0003\.jpg is damaged or cut short"):
        list(loader)


def test_bad_input_is_named(people: PoseSet) -> None:
    with pytest.raises(InputError, match="image_size"):
        PoseDataset(people, 0)
    with pytest.raises(InputError, match="seed"):
        PoseDataset(people, 64, seed=-1)
    with pytest.raises(InputError, match="epoch"):
        PoseDataset(people, 64).set_epoch(-1)
    with pytest.raises(InputError, match=r"sizes must have shape \(12,\), got \(3,\)"):
        PoseSet(
            "x", LSP, people.image_paths, people.joints, people.labelled, people.visible,
            people.centers, people.sizes[:3],
        )  # fmt: skip
