"""Torch modules with our parameters, for Opacus. One order of parameters, that of ``spec``.

Modules are float64. Nothing here draws chance: a fresh module is overwritten at once with
weights that every party derives alike (``spec.initial_weights``).
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from consortium.plan import ModelKind
from models.spec import BlockSpec, ModelSpec, check_weights

Float = NDArray[np.float64]


def build(spec: ModelSpec, block: BlockSpec, weights: Float) -> nn.Module:
    """A module from the block's one-hot columns to one logit, holding ``weights``.

    The scorecard is one linear layer without bias: its bins span the intercept. The MLP has
    ReLU between its layers and no batch normalisation, which would mix rows (protocol 4.8).

    Args:
        spec: Kind and hidden layers. Public.
        block: Public.
        weights: Shape (block.size,). Public.

    Raises:
        ShapeError, DomainError: as ``spec.check_weights``.
    """
    if spec.kind is ModelKind.SCORECARD:
        module = nn.Sequential(nn.Linear(block.columns, 1, bias=False, dtype=torch.float64))
    else:
        parts: list[nn.Module] = []
        for inputs, outputs in pairwise((block.columns, *spec.hidden, 1)):
            parts += [nn.Linear(inputs, outputs, dtype=torch.float64), nn.ReLU()]
        module = nn.Sequential(*parts[:-1])
    load_flat(module, weights)
    return module


def flatten(module: nn.Module) -> Float:
    """All parameters in ``spec``'s order, a copy, shape (d,)."""
    with torch.no_grad():
        parts = [parameter.reshape(-1) for parameter in module.parameters()]
        flat: Float = torch.cat(parts).numpy().copy()
    return flat


def load_flat(module: nn.Module, weights: Float) -> None:
    """Overwrite all parameters. Errors as ``spec.check_weights``."""
    check_weights(weights, sum(parameter.numel() for parameter in module.parameters()))
    start = 0
    with torch.no_grad():
        for parameter in module.parameters():
            end = start + parameter.numel()
            values = torch.from_numpy(weights[start:end].copy())
            parameter.copy_(values.reshape(parameter.shape))
            start = end
