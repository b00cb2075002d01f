"""The command `softgate evaluate`: scores of a run or of predictions in a file, and submissions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from softgate_ext.data.coco_truth import read_truth
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.dataset_source import DatasetSource
from softgate_ext.data.formats import recognise
from softgate_ext.data.join import absent_joints, select_joints, to_skeleton, with_joints_of
from softgate_ext.data.mpii import find_mpii, read_mpii
from softgate_ext.data.mpii_submission import write_submission
from softgate_ext.data.outside import outside_as_told
from softgate_ext.data.poseset import EmptySplit, PoseSet
from softgate_ext.data.shared_pictures import near_copies, shared_pictures
from softgate_ext.errors import InputError
from softgate_ext.evaluation.comparison import Comparison
from softgate_ext.evaluation.evaluate_arguments import check
from softgate_ext.evaluation.evaluate_config import STDOUT, EvalConfig
from softgate_ext.evaluation.joint_detections import counted_by_coco, one_for_each
from softgate_ext.evaluation.joint_files import Found, read_predictions, write_predictions
from softgate_ext.evaluation.measure import (
    constant_pose,
    observer_centric,
    protocol_for,
    reference_lengths,
    score,
)
from softgate_ext.evaluation.published import compare
from softgate_ext.files.atomic import replacing, write_json
from softgate_ext.inference.device import resolve_device, slow_bf16
from softgate_ext.inference.pose_inference import PoseInference, predict_people
from softgate_ext.pose.mirror import pair_joints
from softgate_ext.pose.sides import WORDS, Sides, observer_order, take_joints
from softgate_ext.pose.skeleton import Skeleton, get_skeleton
from softgate_ext.runs.opening import config_of, load_run
from softgate_ext.runs.run_config import RunConfig

Tell = Callable[[str], None]


@outside_as_told
def evaluate(config: EvalConfig, tell: Tell = lambda sentence: None) -> Comparison:
    """Scores a run or predictions in files, beside a predictor that ignores the image.

    Args:
        config: the options of the command.
        tell: called with messages that are useful before the network runs.

    Raises:
        InputError: the run, the data or a file cannot be used, or they do not fit together.
    """
    check(config)
    if config.reference is not None:
        result = compare(config.reference, config.labels)
    else:
        result = _measured(config, tell)
    if config.json not in (None, STDOUT):
        write_json(config.json, result.to_json())
    return result


def _measured(config: EvalConfig, tell: Tell) -> Comparison:
    assert config.data is not None
    source = recognise(config.data, "data", config.train_folder, config.test_folder)
    people = source.read(config.split, config.predictions is None)
    if config.run is not None:
        people = replace(people, skeleton=_with_swap(people.skeleton, config_of(config.run)))
    train, missing = _training_people(source)
    shared = shared_pictures(train, people) if train is not None and config.split == "test" else ()
    sides: Sides = config.labels or "pc"
    named = observer_centric if sides == "oc" else _as_it_is
    truth = named(people)
    protocol = protocol_for(truth, config.metric, config.oks_sigmas)
    score(truth.joints, truth, protocol)  # raises now, and not after the network has run
    lengths = reference_lengths(truth, protocol)
    known = np.isfinite(lengths)
    of_coco = protocol.sigmas is not None and config.predictions is not None
    whole = read_truth(people) if of_coco else None
    found = find_joints(config, people, tell, whole is not None)
    counted = None
    if whole is not None and found.entries is not None:
        assert config.predictions is not None
        absent = absent_joints(people.skeleton, found.skeleton)
        counted = counted_by_coco(
            config.predictions, whole, found.entries, people.skeleton, absent, sides
        )
        found.about["counted"] = counted.numbers
    joints = found.joints
    if sides == "oc":  # a network gives person-centric sides, and a file may have either kind
        joints = take_joints(joints, observer_order(joints, people.skeleton))
    measured = named(with_joints_of(people, found.skeleton))
    name = "network" if config.predictions is None else "predictions"
    sets = None if counted is None else (counted.truth, counted.found)
    scores = {name: score(joints, measured, protocol, found.scores, lengths, sets)}
    if train is not None:
        train = to_skeleton(train, people.skeleton)
        constant = constant_pose(named(train), people)
        scores["mean pose"] = score(constant, measured, protocol, lengths=lengths)
        copies = near_copies(train, people) if config.split == "test" else ()
        if len(copies):
            others = np.setdiff1d(np.arange(len(people)), copies)
            sure = None if found.scores is None else found.scores[others]
            rest = measured.subset(others)
            some = score(joints[others], rest, protocol, sure, lengths[others])
            shared += (
                f"{len(copies)} of the test pictures nearly repeat a training picture; without them "
                f"{name}: {some.main:.2f}",
            )
    if config.save_predictions is not None:
        write_predictions(config.save_predictions, found.joints, found.scores, people)
    said = () if counted is None else counted.notes
    given = list(scores) if counted is None else list(scores)[1:]
    if protocol.sigmas is not None and given:
        said = (*said, one_for_each(given, int(known.sum())))
    return Comparison(
        protocol,
        int(known.sum()),
        int((~known).sum()),
        scores,
        {**found.about, "data": str(config.data), "split": config.split},
        (*people.notes, *shared, *missing, *found.notes, *said),
        WORDS[sides],
    )


def _training_people(source: DatasetSource) -> tuple[PoseSet | None, tuple[str, ...]]:
    """The samples whose mean pose is scored; for data without a train part, None and a note."""
    try:
        if "train" in source.splits:
            return source.read("train", False), ()
    except EmptySplit:  # for example an official file that was reduced to the test part
        pass
    return None, ("the mean pose is left out, because the data have no training samples",)


def _with_swap(skeleton: Skeleton, run: RunConfig) -> Skeleton:
    """The joints of the data with the flip pairs of the run's `swap`, as far as the data have them."""
    own = get_skeleton(run.skeleton)
    swap = [word.lower() for word in run.training.swap]
    places = dict(zip(own.joints, own.places_in(skeleton), strict=True))
    told = [(places.get(a), places.get(b)) for a, b in zip(swap[::2], swap[1::2], strict=True)]
    return pair_joints(skeleton, [pair for pair in told if None not in pair], "swap")


def _as_it_is(people: PoseSet) -> PoseSet:
    return people


@outside_as_told
def submit(config: EvalConfig, tell: Tell = lambda sentence: None) -> tuple[str, ...]:
    """Writes the joints of MPII's test set, predicted by a run or read from a file, as a submission.

    Args:
        config: the options of the command.
        tell: as in `evaluate`.

    Returns:
        Notes to print.

    Raises:
        InputError: as in `evaluate`; or the data are not MPII in the official MATLAB file; or a joint
            was not found.
    """
    check(config)
    assert config.data is not None and config.submission is not None
    source = recognise(config.data, "data")
    if source.format != "mpii":
        raise InputError(
            f"data: got {config.data}, which is {source.title}; for a submission it must hold "
            "mpii_human_pose_v1_u12_1.mat (MPII)"
        )
    people = read_mpii(config.data, "unlabelled", config.predictions is None)
    assert people.persons is not None
    found = find_joints(config, people, tell)
    with replacing(config.submission) as temporary:
        write_submission(temporary, find_mpii(config.data)[0], people.persons, found.joints)
    return (*people.notes, *found.notes)


def find_joints(config: EvalConfig, people: PoseSet, tell: Tell, detections: bool = False) -> Found:
    """The joints of the samples, predicted by the run or read from the file that `config` names.

    Args:
        config: the options of the command.
        people: the samples.
        tell: as in `evaluate`.
        detections: as in `read_predictions`.

    Raises:
        InputError: as in `evaluate`.
    """
    if config.predictions is not None:
        found = read_predictions(config.predictions, people, config.origin, detections)
        absent = _not_looked_for(people, found.skeleton, "these predictions")
        return replace(found, notes=(*found.notes, *absent))
    assert config.run is not None
    device = resolve_device(config.device)
    model, run, stored = load_run(config.run, config.weights)
    skeleton = get_skeleton(run.skeleton)
    with_joints_of(people, skeleton)  # raises if they have no joint in common
    inference = PoseInference(
        model.to(device),
        model.codec(run.image_size, run.sigma, config.decoder),
        skeleton,
        config.amp,
        config.flip_test,
        run.training.channels_last,
        folded=True,
    )
    dataset = PoseDataset(people, run.image_size)
    if slow := slow_bf16(device, config.amp):
        tell(slow)
    joints, scores = predict_people(
        inference, dataset, config.batch_size, config.workers, config.scales
    )
    selected_here = config.weights == "best" and (
        config.split == "all" or (config.split == "test") == (run.training.holdout == 0)
    )
    about = {
        "run": str(config.run),
        "weights": config.weights,
        "epoch": stored.get("epoch"),
        "model": run.model["name"],
        "image_size": run.image_size,
        "flip_test": config.flip_test,
        "scales": list(config.scales),
        "decoder": config.decoder,
        "selected_here": selected_here,
    }
    notes = []
    if selected_here:
        notes.append(
            "these weights were selected by their results on samples that are measured here"
        )
    notes += _not_looked_for(people, skeleton, "this run")
    return Found(
        select_joints(joints, skeleton, people.skeleton),
        np.nan_to_num(select_joints(scores, skeleton, people.skeleton)),
        skeleton,
        about,
        tuple(notes),
    )


def _not_looked_for(people: PoseSet, skeleton: Skeleton, source: str) -> list[str]:
    absent = absent_joints(people.skeleton, skeleton)
    if not absent.any():
        return []
    names = ", ".join(people.skeleton.joints[j] for j in np.flatnonzero(absent))
    return [f"not counted, because they are not among the joints of {source}: {names}"]
