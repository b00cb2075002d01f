"""The check that stored weights fit a network."""

import torch
from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted


def check_architecture(
    source: str, stored: dict[str, Tensor], model: nn.Module, says: str = "config.json"
) -> None:
    """Checks that `stored` has the names and shapes of the state_dict of `model`, and finite numbers.

    Args:
        source: the file that holds the weights, for the message.
        stored: the weights by name.
        model: the network.
        says: the file that described the network, for the message.

    Raises:
        InputError: with the first difference.
    """
    expected = model.state_dict()
    fault = None
    if missing := [name for name in expected if name not in stored]:
        count = counted(len(missing), f"tensor[s] of {len(expected)} [is|are]")
        fault = f"{missing[0]} is missing ({count})"
    elif surplus := [name for name in stored if name not in expected]:
        count = counted(len(surplus), f"tensor[s] of {len(stored)} [has|have] none")
        fault = f"{surplus[0]} has no place in it ({count})"
    else:
        for name, tensor in expected.items():
            if stored[name].shape != tensor.shape:
                got, takes = tuple(stored[name].shape), tuple(tensor.shape)
                fault = f"{name} has the shape {got} where the network has {takes}"
                break
    if fault:
        raise InputError(f"{source} belongs to another architecture than {says} says: {fault}")
    for name, tensor in expected.items():
        value = stored[name]
        if value.is_floating_point() != tensor.is_floating_point() or value.is_complex():
            raise InputError(
                f"{source} is damaged: {name} has the dtype {value.dtype} where the network has "
                f"{tensor.dtype}"
            )
        if not torch.isfinite(value.float()).all():
            raise InputError(f"{source} is damaged: {name} has values that are not finite")
