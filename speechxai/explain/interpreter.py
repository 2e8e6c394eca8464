"""L-MAC: a decoder that was trained beside the classifier says which parts of the sound its answer needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.classifiers.interpreter import COMMAND, mask_of
from speechxai.classifiers.network import stated
from speechxai.errors import NotApplicable
from speechxai.explain.passes import METHODS, check_target, network_of, parts, plain, quiet
from speechxai.types import Spectrogram


@METHODS.register(signed=False, stochastic=False, cites="paissan2024listenable", needs="interpreter", class_blind=True)
def lmac(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Mask of a trained decoder of the hidden layers, A = M(h(X)) in [0, 1], (B, F, T).

    One forward pass. What it keeps was trained to keep the network's own answer, and what it removes to lose it: it is
    of the predicted class, the same whichever class is asked for. Segments are stitched.

    Raises:
        NotApplicable: no decoder was trained for this network; the message names the command that does.
    """
    check_target(spec, target)
    network = network_of(model, spec)
    interpreter = stated(network, "interpreter", None)
    if interpreter is None:
        raise NotApplicable(f"no interpreter was trained for this network: {COMMAND.format('MODEL')}")
    with quiet(network), torch.no_grad():
        decoder = interpreter.load().to(spec.magnitude.device)
        found = [
            mask_of(network, decoder, plain(spec.magnitude[part]), plain(spec.phase[part]))
            for part in parts(network, spec.magnitude)
        ]
    return torch.cat(found).to(spec.magnitude.dtype)
