"""Other rules for the backward pass of elementwise functions, without hooks and without touching the network.

A `TorchFunctionMode` sees every call of F.relu, torch.gelu, Tensor.log and so on, whether a module or plain code makes it,
and answers with a custom autograd function. Nothing is installed on the network, so nothing can be left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Elementwise = Callable[[Tensor], Tensor]

RECTIFIERS = frozenset(
    {"relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus", "rrelu"}
)
"""Functions that guided backpropagation treats as rectifiers, by name."""


def function_name(function: Any) -> str:
    """Name of a torch function without the underscores of its in-place or operator spelling: `relu_` and `__add__` give relu, add."""
    return str(getattr(function, "__name__", "")).strip("_")


def is_rectifier(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is a rectifier; `nn.ReLU6` calls hardtanh from 0 to 6."""
    name = function_name(function)
    return name in RECTIFIERS or (name == "hardtanh" and (args[1] if len(args) > 1 else kwargs.get("min_val")) == 0)


def elementwise_call(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor | None, Elementwise, bool]:
    """Split a call into its tensor, the function of that tensor alone, and whether it writes into the tensor."""
    rest = {key: value for key, value in kwargs.items() if key != "input"}
    values = args[0] if args else kwargs.get("input")
    spelled = str(getattr(function, "__name__", ""))
    in_place = (
        (spelled.endswith("_") and not spelled.endswith("__"))
        or bool(rest.get("inplace"))
        or any(a is True for a in args[1:])
    )

    def alone(tensor: Tensor) -> Tensor:
        result: Tensor = function(tensor.clone() if in_place else tensor, *args[1:], **rest)
        return result

    return (values if isinstance(values, Tensor) else None), alone, in_place


def derivative_of(function: Elementwise, values: Tensor) -> Tensor:
    """Derivative of an elementwise function at `values`, same shape."""
    # Inside a checkpointed region its pack hooks would catch this little graph as well; the innermost hooks win.
    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.detach(), lambda saved: saved),
    ):
        point = values.detach().clone().requires_grad_()
        result = function(point)
        return torch.autograd.grad(result, point, torch.ones_like(result))[0]


class Rule:
    """Which backward pass the rectifiers of one graph take; switched between passes over the same graph."""

    def __init__(self) -> None:
        self.guided = False
        self.n_rectifiers = 0

    @contextmanager
    def guiding(self) -> Iterator[None]:
        """Take the guided backward pass inside this context."""
        self.guided = True
        try:
            yield
        finally:
            self.guided = False


def gradients_inside(mode: TorchFunctionMode, score: Tensor, inputs: list[Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients of a sum of `score` by `inputs` with `mode` entered; the graph is kept.

    `autograd.grad` on tensors is itself a function that the mode would answer, with the mode left during the pass. A network
    that computes its forward pass again (checkpointing) would do so without the rule. Edges of the graph are no tensors.
    """
    start = torch.autograd.graph.get_gradient_edge(score.sum())
    ends = [torch.autograd.graph.get_gradient_edge(values) for values in inputs]
    with mode:
        return torch.autograd.grad(start, ends, retain_graph=True, allow_unused=True)


class _Rectifier(torch.autograd.Function):
    """A rectifier whose backward pass is the true derivative or the guided one, as the rule says at that time."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Elementwise, is_relu: bool, rule: Rule) -> Tensor:
        """Apply the rectifier and keep its derivative."""
        ctx.rule, ctx.is_relu = rule, is_relu
        positive = values > 0
        if is_relu:
            ctx.save_for_backward(positive)
        else:
            ctx.save_for_backward(positive, derivative_of(function, values))
        return function(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Guided: max(gradient, 0) * derivative where the input was positive, else 0. Plain: gradient * derivative."""
        positive, *derivative = ctx.saved_tensors
        gradient = gradients[0].clamp(min=0) if ctx.rule.guided else gradients[0]
        if derivative:
            gradient = gradient * derivative[0]
        if ctx.is_relu or ctx.rule.guided:
            gradient = gradient * positive
        return gradient, None, None, None


class RectifierMode(TorchFunctionMode):
    """Inside this mode every rectifier follows `rule` on its way back.

    Keep it entered during the backward pass as well: checkpointed networks compute their forward pass again there.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Answer rectifiers with the switchable one; let everything else pass."""
        kwargs = kwargs or {}
        if not is_rectifier(func, args, kwargs):
            return func(*args, **kwargs)
        values, alone, in_place = elementwise_call(func, args, kwargs)
        if values is None or not (values.requires_grad and torch.is_grad_enabled()):
            return func(*args, **kwargs)
        self.rule.n_rectifiers += 1
        source = values.clone() if in_place else values
        result = _Rectifier.apply(source, alone, function_name(func) == "relu", self.rule)
        return values.copy_(result) if in_place else result
