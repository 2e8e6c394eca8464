"""Other rules for the backward pass of elementwise functions, without hooks and without touching the network, and how
rectifiers are told from everything else: by what they do, however they are spelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

Elementwise = Callable[[Tensor], Tensor]

RECTIFIERS = frozenset(
    {"relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus", "rrelu"}
)
"""Functions that guided backpropagation treats as rectifiers, by name."""

_LOWER_BOUNDS = {"clamp": (1, "min"), "clip": (1, "min"), "clamp_min": (1, "min"), "hardtanh": (1, "min_val")}
_UPPER_BOUNDS = {"clamp": (2, "max"), "clip": (2, "max"), "hardtanh": (2, "max_val")}
"""Where a call holds its bounds: the position and the keyword."""

_MAXIMA = frozenset({"maximum", "fmax", "max"})
_STEPS = frozenset({"sign", "sgn", "heaviside"})
_SHAPE_ONLY = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"})
_FINITE = frozenset({"isnan", "isinf", "isfinite", "isposinf", "isneginf"})
_CASTS = frozenset({"to", "type_as", "expand_as", "view_as", "reshape_as"})
_FILLS = frozenset({"where", "masked_fill", "setitem"})
_GATING_IN_PLACE = frozenset({"mul", "imul", "multiply", "masked_fill", "setitem", "clamp", "clip", "index_put"})

_RECTIFYING_NODES = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "Elu",
        "Gelu",
        "Silu",
        "Mish",
        "Hardswish",
        "Softplus",
        "RreluWithNoise",
        "Threshold",
        "PreluKernel",
    }
)
_SQUASHING_NODES = frozenset(
    {"Sigmoid", "Tanh", "Erf", "Hardsigmoid", "Hardtanh", "Clamp", "ClampMin", "Exp", "Atan", "_Rectifier"}
)
_ELEMENTWISE_NODES = _SQUASHING_NODES | {"Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Pow", "Reciprocal", "Log1P", "Log"}
_TRUSTED_FUNCTIONS = ("speechxai.", "torch.utils.checkpoint", "torch.nn.")
"""Modules whose autograd functions hide no rectifier."""


def function_name(function: Any) -> str:
    """Name of a torch function without the underscores of its in-place or operator spelling: `relu_` and `__add__` give
    relu, add."""
    return str(getattr(function, "__name__", "")).strip("_")


def is_rectifier(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is a rectifier by its name and bounds: 0 is the least that comes out (`nn.ReLU6` calls hardtanh
    from 0 to 6), or all that is negative is scaled (PReLU)."""
    name = function_name(function)
    if name in RECTIFIERS or name == "prelu":
        return True
    if name == "threshold":
        return all(_is_zero(_argument(args, kwargs, at, key)) for at, key in ((1, "threshold"), (2, "value")))
    if name in _MAXIMA:
        pair = [*args, kwargs.get("other")][:2]
        return any(isinstance(values, Tensor) and not values.requires_grad and _is_zero(values) for values in pair)
    if name not in _LOWER_BOUNDS or not _is_zero(_argument(args, kwargs, *_LOWER_BOUNDS[name])):
        return False
    upper = _argument(args, kwargs, *_UPPER_BOUNDS[name]) if name in _UPPER_BOUNDS else None
    return upper is None or bool(torch.as_tensor(upper).gt(0).all())


def _is_disguised(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call keeps what is negative, x - relu(x), or is a smooth maximum with 0."""
    if name in ("minimum", "fmin", "min", "logaddexp"):
        pair = [*args, kwargs.get("other")][:2]
        return any(isinstance(values, Tensor) and not values.requires_grad and _is_zero(values) for values in pair)
    place = (1, "max") if name == "clamp_max" else _UPPER_BOUNDS.get(name)
    return place is not None and _is_zero(_argument(args, kwargs, *place))


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, keyword: str) -> Any:
    return args[position] if len(args) > position else kwargs.get(keyword)


def _is_zero(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() > 0 and not bool(value.detach().count_nonzero())
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


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
    """Which backward pass the rectifiers of one graph take; switched between passes over the same graph.

    Attributes:
        n_rectifiers: calls found to be rectifiers.
        unreadable: what may be a rectifier in a spelling that cannot follow the rule, in words; "" where all is clear.
    """

    def __init__(self) -> None:
        self.guided = False
        self.n_rectifiers = 0
        self.unreadable = ""
        # Tensors without a gradient that were computed from followed ones, and whether a step (`x > 0`) is in them.
        self.derived: Any = WeakIdKeyDictionary()

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

    `autograd.grad` on tensors is itself a function that the mode would answer, with the mode left during the pass. A
    network
    that computes its forward pass again (checkpointing) would do so without the rule. Edges of the graph are no
    tensors.
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
    """Inside this mode every rectifier follows `rule` on its way back, however it is spelled.

    A call is a rectifier where its name and bounds say so (`relu`, `clamp(min=0)` whatever it guards, `maximum(x, 0)`),
    or where it gave relu(x) of one of its tensors, element by element, on recordings that have values of both signs
    there (`x * (x > 0)`, `where(x > 0, x, 0)`, `x[x < 0] = 0`). What switches by a sign and is neither is noted in
    `rule.unreadable`.

    Keep the mode entered during the backward pass as well: checkpointed networks compute their forward pass again
    there. Not told: a rectifier spelled out by other calls on recordings whose values have one sign there, and x +
    sqrt(x^2).
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Answer rectifiers with the switchable one; let everything else pass."""
        kwargs = kwargs or {}
        tensors = list(_tensors((args, kwargs)))
        derived = [values for values in tensors if values in self.rule.derived]
        gates = [values for values in derived if self.rule.derived[values]]
        followed = [values for values in tensors if values.requires_grad and values not in self.rule.derived]
        if not derived and not followed:
            return func(*args, **kwargs)
        name = function_name(func)
        if not followed or not torch.is_grad_enabled() or (gates and name in _CASTS):
            return self._noted(name, func(*args, **kwargs), bool(gates))
        if is_rectifier(func, args, kwargs):
            if name in _MAXIMA:
                # Of the result's shape, should the zeros be larger than what they are compared with.
                return self._rectified(followed[0].expand_as(func(*args, **kwargs)), torch.relu, True)
            values, alone, in_place = elementwise_call(func, args, kwargs)
            if values is not None and values.requires_grad:
                result = self._rectified(values.clone() if in_place else values, alone, name == "relu")
                return values.copy_(result) if in_place else result
        if name in _GATING_IN_PLACE and followed[0] is args[0] and _writes(func):
            after = args[0].detach().clone()
            with torch.no_grad():
                func(after, *args[1:], **kwargs)
            if self._is_relu(name, followed, gates, after, (args, kwargs)):
                args[0].copy_(self._rectified(args[0].clone(), torch.relu, True))
                return None if name == "setitem" else args[0]
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and self._is_relu(name, followed, gates, result.detach(), (args, kwargs)):
            return self._rectified(followed[0], torch.relu, True)
        return self._noted(name, result, gated=False)

    def _rectified(self, values: Tensor, function: Elementwise, is_relu: bool) -> Tensor:
        self.rule.n_rectifiers += 1
        result: Tensor = _Rectifier.apply(values, function, is_relu, self.rule)
        return result

    def _noted(self, name: str, result: Any, gated: bool) -> Any:
        """Remember a result that was computed from followed tensors and has no gradient, and whether it is a step."""
        if name in _SHAPE_ONLY or name.startswith("new_"):
            return result
        for values in _tensors(result):
            step = name in _STEPS or (values.dtype == torch.bool and name not in _FINITE)
            if step or gated or not values.requires_grad:
                self.rule.derived[values] = step or gated
        return result

    def _is_relu(self, name: str, followed: list[Tensor], gates: list[Tensor], after: Tensor, arguments: Any) -> bool:
        """Whether a call's result is relu of its only followed tensor; notes what is nearly so or gated otherwise."""
        likeness = max((_likeness(values.detach(), after, bool(gates)) for values in followed), default=0)
        if likeness == 2 and len(followed) == 1:
            return True
        if likeness:
            self._note(f"'{name}' gives what a rectifier gives, or nearly")
        elif name in ("rnn_relu", "rnn_relu_cell"):
            self._note(f"the rectifiers inside '{name}' cannot be reached")
        elif _is_disguised(name, *arguments):
            self._note(f"'{name}' is a rectifier in disguise")
        elif name in ("abs", "absolute") and followed[0].is_floating_point():
            if bool((followed[0] < 0).any()) and bool((followed[0] > 0).any()):
                self._note(f"'{name}' turns negative values over")
        elif gates and not (name in _FILLS and len(followed) == 1 and not _fills_zero(arguments, [*followed, *gates])):
            self._note(f"'{name}' switches activations by a comparison")
        return False

    def _note(self, what: str) -> None:
        self.rule.unreadable = self.rule.unreadable or what


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)


def _likeness(values: Tensor, after: Tensor, gated: bool) -> int:
    """2 where `after` is relu(values), 1 where it is so within a thousandth of the range, else 0.

    0 as well where `values` has one sign alone, which tells nothing; all are negative and the call is `gated` by a
    comparison tells enough.
    """
    if values.shape != after.shape or not (values.is_floating_point() and after.is_floating_point() and after.numel()):
        return 0
    if values.ndim > 1 and not _likely(values[(0,) * (values.ndim - 1)], after[(0,) * (values.ndim - 1)]):
        return 0  # most calls are told apart by one row
    least, most = float(values.min()), float(values.max())
    both = min(-least, most) > 1e-3 * max(-least, most)
    if not (both or (gated and most < 0)) or not _likely(values, after):
        return 0
    return 2 if torch.equal(after.to(values.dtype), values.clamp(min=0)) else 1


def _likely(values: Tensor, after: Tensor) -> bool:
    return bool(((after - values.clamp(min=0)).abs() <= 1e-3 * values.abs().max()).all())


def _fills_zero(arguments: Any, others: list[Tensor]) -> bool:
    """Whether a call of `where` or its kin fills in 0; another number guards a division or a logarithm."""
    args, kwargs = arguments
    filled = [value for value in (*args, *kwargs.values()) if not any(value is other for other in others)]
    return not filled or _is_zero(filled[-1])


def _writes(function: Any) -> bool:
    """Whether a function writes into its first tensor."""
    spelled = str(getattr(function, "__name__", ""))
    return spelled in ("__setitem__", "__imul__") or (spelled.endswith("_") and not spelled.endswith("__"))


def hidden_rectifier(outputs: Tensor) -> str:
    """What in a graph may be a rectifier that no `RectifierMode` saw, in words; "" where there is none.

    Found are rectifiers inside compiled or scripted functions, functions with a backward pass of their own, and smooth
    rectifiers spelled out, x * g(x) with a squashing g, as in x * sigmoid(x) for SiLU.
    """
    root = outputs.grad_fn
    todo, seen = [root] if root is not None else [], set()
    while todo:
        node: Any = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        found = _hides(node)
        if found:
            return found
        todo += [edge[0] for edge in node.next_functions if edge[0] is not None]
    return ""


def _hides(node: Any) -> str:
    own = getattr(node, "_forward_cls", None)
    if own is not None and not str(own.__module__).startswith(_TRUSTED_FUNCTIONS):
        return f"the function '{own.__name__}' has a backward pass of its own"
    kind, _, spelling = node.name().partition("Backward")
    scalar_bound = spelling == "1" or kind != "Clamp"
    bounded = kind in ("Clamp", "ClampMin", "Hardtanh") and scalar_bound and 0 in (_bound(node), _bound(node, "_val"))
    if kind in _RECTIFYING_NODES or bounded:
        return f"a rectifier ({node.name()}) stands where its call cannot be seen"
    if kind.startswith(("DifferentiableGraph", "CompiledFunction")):
        return "a compiled function cannot be looked into"
    if kind in ("Max", "Amax", "Logsumexp"):
        joined = node.next_functions[0][0]
        stacked = joined is not None and joined.name().startswith(("StackB", "CatB"))
        if stacked and any(edge[0] is None for edge in joined.next_functions):
            return "a maximum with a constant is spelled as one over a stack"
    if (kind == "Sqrt" or (kind == "Pow" and getattr(node, "_saved_exponent", None) == 0.5)) and _is_square(node):
        return "the root of a square stands for |x|, as in (x + sqrt(x * x)) / 2"
    if kind in ("Mul", "Div") and len(node.next_functions) == 2:
        left, right = node.next_functions
        if left[0] is not None and right[0] is not None and left != right:
            (a, squashes_a), (b, squashes_b) = _elementwise_sources(left), _elementwise_sources(right)
            if a & b and (squashes_a or squashes_b):
                return "activations are multiplied by a gate of themselves, as in x * sigmoid(x)"
    return ""


def _is_square(node: Any) -> bool:
    """Whether a node is given one value times itself, a constant added to it or not."""
    inner = node.next_functions[0][0]
    while inner is not None and inner.name().startswith("Add"):
        given = [edge[0] for edge in inner.next_functions if edge[0] is not None]
        inner = given[0] if len(given) == 1 else None
    if inner is None:
        return False
    name, edges = inner.name(), inner.next_functions
    is_even = getattr(inner, "_saved_exponent", None) == 2
    return (name.startswith("Pow") and is_even) or (name.startswith("Mul") and len(edges) == 2 and edges[0] == edges[1])


def _bound(node: Any, ending: str = "") -> Any:
    value = getattr(node, f"_saved_min{ending}", None)
    return value if isinstance(value, int | float) else None


def _elementwise_sources(edge: Any) -> tuple[set[Any], bool]:
    """Outputs of nodes from which an edge is computed element by element, and whether a squashing function stands
    between."""
    todo, seen, squashes = [edge], set(), False
    while todo:
        node, output = todo.pop()
        if node is None or (node, output) in seen:
            continue
        seen.add((node, output))
        kind = node.name().partition("Backward")[0]
        squashes |= kind in _SQUASHING_NODES
        if kind in _ELEMENTWISE_NODES:
            todo += node.next_functions
    return seen, squashes
