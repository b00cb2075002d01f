"""The scoring rules of the known benchmarks, and those that a user selects by `--metric`."""

import math
from collections.abc import Mapping, Sequence

from softgate_ext.errors import InputError
from softgate_ext.pose.oks import COCO_SIGMAS
from softgate_ext.pose.protocol import Protocol, torso_of
from softgate_ext.pose.skeleton import FLIC, LSP, MPII, Skeleton


def torso_pck(skeleton: Skeleton) -> Protocol:
    """PCK@0.2 with the torso's diagonal as the reference length, over all joints: the rules of LSP.

    Raises:
        InputError: the joints do not include the ends of that diagonal.
    """
    ends = torso_of(skeleton)
    if ends is None:
        raise InputError(
            "metric: got torso, the distance from left_shoulder to right_hip, which are "
            f"not both among the joints; takes another metric (the joints are {', '.join(skeleton.joints)})"
        )
    return _pck("PCK@0.2", skeleton, "distance from left shoulder to right hip", ends)


def box_pck(skeleton: Skeleton) -> Protocol:
    """PCK@0.2 with the longer side of the person's box as the reference length, for any joints."""
    return _pck("PCK@0.2 (box)", skeleton, "longer side of the person's box", "boxes")


def named_protocol(
    metric: str, skeleton: Skeleton, sigmas: Sequence[float], known: Mapping[str, float]
) -> Protocol:
    """The rules of the metric that a user selects by name.

    Args:
        metric: `torso`, `box`, `oks`, or two joints with a comma between them, as in "nose,tail", whose
            distance is then the reference length of PCK@0.2. Joints may be in any spelling.
        skeleton: the joints.
        sigmas: the sigma of each joint for OKS; empty for those in `known`, or COCO's by joint name.
        known: sigmas of the dataset by joint.

    Raises:
        InputError: there is no such metric, or the joints or sigmas do not allow it.
    """
    if metric == "oks":
        return _oks(skeleton, sigmas, known)
    if sigmas:
        raise InputError(
            f"oks_sigmas: got them with the metric {metric}; they belong to --metric oks"
        )
    if metric in ("torso", "box"):
        return torso_pck(skeleton) if metric == "torso" else box_pck(skeleton)
    if ends := _two_joints(metric, skeleton):
        first, second = (skeleton.joints[end] for end in ends)
        unit = f"distance from {first} to {second}".replace("_", " ")
        return _pck(f"PCK@0.2 ({first}, {second})", skeleton, unit, ends)
    raise InputError(
        f"metric: got {metric}; takes auto, torso, box, oks, or two of these joints with a "
        f"comma between them: {', '.join(skeleton.joints)}"
    )


def _two_joints(words: str, skeleton: Skeleton) -> tuple[int, int] | None:
    """The joints before and after a comma; None if there is no such pair, or more than one."""
    parts = words.split(",")  # a joint's own name may hold commas
    halves = [
        (",".join(parts[:place]).strip(), ",".join(parts[place:]).strip())
        for place in range(1, len(parts))
    ]
    # Names in the spelling of the skeleton have priority over other spellings.
    printed = [pair for pair in halves if {end.lower() for end in pair} <= set(skeleton.joints)]
    found = [(skeleton.find(first), skeleton.find(second)) for first, second in printed or halves]
    pairs = [(a, b) for a, b in found if a is not None and b is not None and a != b]
    return pairs[0] if len(pairs) == 1 else None


def _oks(skeleton: Skeleton, sigmas: Sequence[float], known: Mapping[str, float]) -> Protocol:
    of_coco = ((skeleton.find(joint), sigma) for joint, sigma in COCO_SIGMAS.items())
    named = {skeleton.joints[j]: sigma for j, sigma in of_coco if j is not None} | {**known}
    missing = [joint for joint in skeleton.joints if joint not in named]
    order = (
        f"takes one number for each of these joints, in this order: {', '.join(skeleton.joints)}"
    )
    if not sigmas and missing:
        raise InputError(
            f"oks_sigmas: got none, and neither the data nor COCO has any for "
            f"{', '.join(missing)}; {order}"
        )
    chosen = tuple(sigmas or (named[joint] for joint in skeleton.joints))
    if len(chosen) != len(skeleton):
        raise InputError(f"oks_sigmas: got {len(chosen)}; {order}")
    if not all(math.isfinite(sigma) and sigma > 0 for sigma in chosen):
        raise InputError(f"oks_sigmas: got {' '.join(map(str, chosen))}; takes numbers above 0")
    unit = "square root of the person's area"
    members = tuple(range(len(skeleton)))
    return Protocol("OKS AP", skeleton, math.nan, unit, "areas", members, 1, chosen)


def _pck(name: str, skeleton: Skeleton, unit: str, reference: str | tuple[int, int]) -> Protocol:
    return Protocol(name, skeleton, 0.2, unit, reference, tuple(range(len(skeleton))), 1)


# MPII's evaluation leaves out pelvis and thorax, although they are annotated.
_counted = tuple(i for i, name in enumerate(MPII.joints) if name not in ("pelvis", "thorax"))
_arms = tuple(i for i, name in enumerate(FLIC.joints) if name.endswith(("elbow", "wrist")))
_head, _torso = "0.6 x diagonal of the head box", "diagonal of the torso box"

PCKH = Protocol("PCKh@0.5", MPII, 0.5, _head, "head_boxes", _counted, 2)
LSP_PCK = torso_pck(LSP)
FLIC_PCK = Protocol("PCK@0.2", FLIC, 0.2, _torso, "torso_boxes", _arms, 1)
