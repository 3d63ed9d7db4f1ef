"""A fast way from a module to an ONNX graph: run it once and write down what it calls.

The dynamo exporter takes about a second for an operator; a search space has hundreds. Nearly all of them are made of a
dozen functions, and for those one forward pass under a ``TorchFunctionMode`` is enough. Whatever this tracer cannot
vouch for raises ``UntraceableError`` and never a graph that means something else: unknown functions, values that leave
the tensors (``item``), random numbers, tensors whose origin it did not see, in-place writes that something else shares.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from backends.protocol import Array, Shape

Attribute = int | float | str | list[int]


class UntraceableError(Exception):
    """The module does something that the tracer has no exact ONNX operator for."""


@dataclass
class Node:
    """One ONNX node: all the operators used here have one output."""

    op_type: str
    inputs: list[str]
    output: str
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass
class Graph:
    """A static-shape float32 graph, in order of execution."""

    inputs: list[tuple[str, Shape]] = field(default_factory=list)
    outputs: list[tuple[str, Shape]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)


def trace(module: nn.Module, inputs: Sequence[Array]) -> Graph:
    """Run ``module`` once on ``inputs`` and return the graph of what it did, batch norms folded into convolutions.

    Raises:
        UntraceableError: the module does something that the tracer does not cover.
    """
    if any(array.dtype != np.float32 for array in inputs):
        raise UntraceableError("an input is not float32")
    tensors = [torch.from_numpy(array.copy()) for array in inputs]
    recorder = _Recorder(module, tensors)
    random_state = torch.get_rng_state()
    with torch.no_grad(), recorder:
        result = module(*tensors)
    if not torch.equal(random_state, torch.get_rng_state()):
        raise UntraceableError("the module draws random numbers")
    graph = recorder.finish([result] if isinstance(result, Tensor) else result)
    fold_batch_norms(graph)
    return graph


class _Recorder(TorchFunctionMode):
    """Sees every call of a torch function, lets it happen, and notes the ONNX node that does the same.

    Tensors are known by identity, through weak references: a network's activations are freed as soon as the module
    lets go of them.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = Graph()
        self._names = WeakTensorKeyDictionary()
        self._known = WeakTensorKeyDictionary()
        self._counts: Counter[str] = Counter()
        self._refused: UntraceableError | None = None
        for constant in (*module.parameters(), *module.buffers()):
            self._known[constant] = None
        for index, tensor in enumerate(inputs):
            name = f"input_{index}"
            self._names[tensor] = name
            self.graph.inputs.append((name, tuple(tensor.shape)))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func``; where it touches what came from the inputs, record it or refuse."""
        try:
            return self._call(func, args, kwargs or {})
        except UntraceableError as reason:
            # A module may catch this one and go another way, which would not be its own.
            self._refused = reason
            raise

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if func in _METADATA:
            return func(*args, **kwargs)
        if not any(tensor in self._names for tensor in _tensors((args, kwargs))):
            result = func(*args, **kwargs)
            for tensor in _tensors(result):
                self._known[tensor] = None
            return result
        return self._record(func, args, kwargs)

    def _record(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        handler = _HANDLERS.get(func)
        if handler is None:
            raise UntraceableError(f"no ONNX operator for {getattr(func, '__qualname__', func)}")
        try:
            bound = handler.signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise UntraceableError(f"{func.__name__}: {error}") from None
        first = args[0] if args else None
        if handler.in_place or bound.arguments.get("inplace"):
            self._check_unshared(first)
        before = tuple(first.shape) if isinstance(first, Tensor) else ()
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor) or result.dtype != torch.float32 or result.layout != torch.strided:
            raise UntraceableError(f"{func.__name__} does not return a dense float32 tensor")
        # The name is looked up before it is given: an in-place function returns its argument under a new one.
        self._names[result] = handler.emit(*bound.args, _Call(before, tuple(result.shape)), **bound.kwargs)
        return result

    def value(self, tensor: object) -> str:
        """The name of a tensor that came from the inputs, or of a new constant."""
        if isinstance(tensor, Tensor) and tensor in self._names:
            name: str = self._names[tensor]
            return name
        return self.constant(self.constant_array(tensor))

    def constant_array(self, value: object) -> Array:
        """What a constant holds: a weight, or a number that stands where a tensor may.

        Raises:
            UntraceableError: it depends on the inputs, or where it comes from was not seen.
        """
        if isinstance(value, (bool, complex)) or not isinstance(value, (int, float, Tensor)):
            raise UntraceableError(f"a {type(value).__name__} where a tensor is expected")
        if not isinstance(value, Tensor):
            return np.asarray(value, dtype=np.float32)
        if value in self._names:
            raise UntraceableError("weights that depend on the inputs")
        if value not in self._known or value.dtype != torch.float32:
            raise UntraceableError("a tensor of unknown origin or not of float32")
        array: Array = value.detach().cpu().numpy().copy()
        return array

    def constant(self, array: Array, hint: str = "constant") -> str:
        """A new constant of the graph."""
        name = self._fresh(hint)
        self.graph.constants[name] = array
        return name

    def node(self, op_type: str, inputs: list[str], **attributes: Attribute) -> str:
        """A new node; returns the name of its output."""
        output = self._fresh(op_type.lower())
        self.graph.nodes.append(Node(op_type, inputs, output, attributes))
        return output

    def finish(self, results: object) -> Graph:
        """The graph with its outputs, each under a name and from a node of its own."""
        if self._refused is not None:
            raise self._refused
        if not isinstance(results, (tuple, list)) or not results:
            raise UntraceableError(f"the module returns a {type(results).__name__}")
        for index, tensor in enumerate(results):
            if not isinstance(tensor, Tensor) or tensor not in self._names:
                raise UntraceableError(f"output {index} is not a tensor that comes from the inputs")
            name = f"output_{index}"
            self.graph.nodes.append(Node("Identity", [self._names[tensor]], name))
            self.graph.outputs.append((name, tuple(tensor.shape)))
        _drop_needless_identities(self.graph)
        return self.graph

    def _fresh(self, stem: str) -> str:
        self._counts[stem] += 1
        return f"{stem}_{self._counts[stem] - 1}"

    def _check_unshared(self, target: object) -> None:
        """An in-place write is one more value only while nobody else looks at the same memory."""
        if not isinstance(target, Tensor) or target not in self._names:
            raise UntraceableError("an in-place write to something other than an activation")
        storage = target.untyped_storage().data_ptr()
        if any(other is not target and other.untyped_storage().data_ptr() == storage for other in self._names):
            raise UntraceableError("an in-place write to memory that two tensors share")


@dataclass(frozen=True)
class _Call:
    """What a handler knows of the call besides its arguments."""

    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True)
class _Handler:
    """Turns one call of a torch function into nodes. ``signature`` is the function's own, so far as it is covered."""

    emit: Callable[..., str]
    signature: inspect.Signature
    in_place: bool


_HANDLERS: dict[Callable[..., Any], _Handler] = {}

# Asking about shapes is free: they are concrete.
_METADATA = frozenset(
    {
        *(getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_cuda")),
        *(
            getattr(Tensor, name)
            for name in ("size", "dim", "numel", "stride", "is_contiguous", "is_floating_point", "__len__", "__hash__")
        ),
    }
)

_Emit = Callable[..., str]


def _covers(*functions: Callable[..., Any], in_place: bool = False) -> Callable[[_Emit], _Emit]:
    """Register a handler. Its parameters are the recorder, the function's own, and by keyword only ``call``."""

    def register(emit: _Emit) -> _Emit:
        def with_call(recorder: _Recorder, *arguments: Any, **named: Any) -> str:
            *own, call = arguments
            return emit(recorder, *own, call=call, **named)

        signature = inspect.signature(emit)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "call"]
        for function in functions:
            _HANDLERS[function] = _Handler(with_call, signature.replace(parameters=own), in_place)
        return emit

    return register


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UntraceableError(what)


def _pair(value: int | Sequence[int]) -> list[int]:
    pair = [value, value] if isinstance(value, int) else [int(item) for item in value]
    return pair if len(pair) == 2 else pair * 2


def _pads(padding: int | str | Sequence[int]) -> list[int]:
    if isinstance(padding, str):
        _require(padding == "valid", f"padding={padding!r}")
        return [0, 0, 0, 0]
    return _pair(padding) * 2


@_covers(F.conv2d)
def _conv2d(
    recorder: _Recorder,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    call: _Call,
) -> str:
    _require(len(call.output_shape) == 4, "a convolution without a batch dimension")
    operands = [recorder.value(input), recorder.constant(recorder.constant_array(weight), "weight")]
    if bias is not None:
        operands.append(recorder.constant(recorder.constant_array(bias), "bias"))
    return recorder.node(
        "Conv",
        operands,
        kernel_shape=[int(size) for size in weight.shape[2:]],
        strides=_pair(stride),
        pads=_pads(padding),
        dilations=_pair(dilation),
        group=groups,
    )


@_covers(F.batch_norm)
def _batch_norm(
    recorder: _Recorder,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    call: _Call,
) -> str:
    _require(not training, "a batch norm that takes its statistics from the batch")
    mean, variance = recorder.constant_array(running_mean), recorder.constant_array(running_var)
    scale = np.ones_like(mean) if weight is None else recorder.constant_array(weight)
    shift = np.zeros_like(mean) if bias is None else recorder.constant_array(bias)
    arrays = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
    constants = [recorder.constant(array, name) for name, array in arrays.items()]
    return recorder.node("BatchNormalization", [recorder.value(input), *constants], epsilon=eps)


@_covers(F.relu, torch.relu, Tensor.relu)
def _relu(recorder: _Recorder, input: Tensor, inplace: bool = False, *, call: _Call) -> str:
    return recorder.node("Relu", [recorder.value(input)])


@_covers(torch.relu_, Tensor.relu_, in_place=True)
def _relu_in_place(recorder: _Recorder, input: Tensor, *, call: _Call) -> str:
    return recorder.node("Relu", [recorder.value(input)])


@_covers(torch.sigmoid, Tensor.sigmoid)
def _sigmoid(recorder: _Recorder, input: Tensor, *, call: _Call) -> str:
    return recorder.node("Sigmoid", [recorder.value(input)])


@_covers(F.softmax, torch.softmax, Tensor.softmax)
def _softmax(
    recorder: _Recorder,
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
    *,
    call: _Call,
) -> str:
    if dim is None or dtype is not None:
        raise UntraceableError("a softmax with an implied dimension or a dtype")
    return recorder.node("Softmax", [recorder.value(input)], axis=dim)


@_covers(Tensor.contiguous)
def _contiguous(recorder: _Recorder, input: Tensor, *, call: _Call) -> str:
    return recorder.value(input)


@_covers(F.dropout)
def _dropout(
    recorder: _Recorder,
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    call: _Call,
) -> str:
    _require(not training, "dropout in training mode")
    return recorder.value(input)


@_covers(torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
def _add(recorder: _Recorder, input: object, other: object, *, call: _Call) -> str:
    return recorder.node("Add", [recorder.value(input), recorder.value(other)])


@_covers(Tensor.add_, Tensor.__iadd__, in_place=True)
def _add_in_place(recorder: _Recorder, input: object, other: object, *, call: _Call) -> str:
    return recorder.node("Add", [recorder.value(input), recorder.value(other)])


@_covers(torch.mul, torch.multiply, Tensor.mul, Tensor.__mul__, Tensor.__rmul__)
def _mul(recorder: _Recorder, input: object, other: object, *, call: _Call) -> str:
    return recorder.node("Mul", [recorder.value(input), recorder.value(other)])


@_covers(Tensor.mul_, Tensor.__imul__, in_place=True)
def _mul_in_place(recorder: _Recorder, input: object, other: object, *, call: _Call) -> str:
    return recorder.node("Mul", [recorder.value(input), recorder.value(other)])


@_covers(torch.cat, torch.concat, torch.concatenate)
def _cat(recorder: _Recorder, tensors: Sequence[Tensor], dim: int = 0, *, call: _Call) -> str:
    _require(all(tensor.dim() == len(call.output_shape) for tensor in tensors), "a concatenation of unequal ranks")
    return recorder.node("Concat", [recorder.value(tensor) for tensor in tensors], axis=dim)


@_covers(F.interpolate)
def _interpolate(
    recorder: _Recorder,
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
    *,
    call: _Call,
) -> str:
    exact = mode == "bilinear" and not align_corners and not antialias
    _require(exact, f"interpolation: mode={mode}, align_corners={align_corners}, antialias={antialias}")
    if scale_factor is not None and not recompute_scale_factor:
        # torch maps coordinates by the given factor, ONNX by the ratio of the sizes: they must be the same.
        factors = [scale_factor] * 2 if isinstance(scale_factor, (int, float)) else scale_factor
        sizes = zip(call.input_shape[2:], call.output_shape[2:], factors, strict=True)
        _require(all(before * factor == after for before, after, factor in sizes), "a resize to a rounded size")
    target = recorder.constant(np.asarray(call.output_shape, dtype=np.int64), "sizes")
    return recorder.node(
        "Resize",
        [recorder.value(input), "", "", target],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


@_covers(F.max_pool2d, torch.max_pool2d)
def _max_pool2d(
    recorder: _Recorder,
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    call: _Call,
) -> str:
    _require(len(call.output_shape) == 4 and not ceil_mode and not return_indices, "an unusual max pool")
    return recorder.node(
        "MaxPool",
        [recorder.value(input)],
        kernel_shape=_pair(kernel_size),
        strides=_pair(stride or kernel_size),
        pads=_pads(padding),
        dilations=_pair(dilation),
    )


@_covers(F.avg_pool2d)
def _avg_pool2d(
    recorder: _Recorder,
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    call: _Call,
) -> str:
    usual = len(call.output_shape) == 4 and not ceil_mode and divisor_override is None
    _require(usual, "an unusual average pool")
    return recorder.node(
        "AveragePool",
        [recorder.value(input)],
        kernel_shape=_pair(kernel_size),
        strides=_pair(stride or kernel_size),
        pads=_pads(padding),
        count_include_pad=int(count_include_pad),
    )


@_covers(F.adaptive_avg_pool2d)
def _adaptive_avg_pool2d(
    recorder: _Recorder,
    input: Tensor,
    output_size: int | Sequence[int],
    *,
    call: _Call,
) -> str:
    _require(len(call.output_shape) == 4 and call.output_shape[2:] == (1, 1), "an adaptive pool to more than one pixel")
    return recorder.node("GlobalAveragePool", [recorder.value(input)])


def _tensors(value: object) -> Iterator[Tensor]:
    """Every tensor in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _drop_needless_identities(graph: Graph) -> None:
    """Let the node that makes a value give it the output's name; keep the Identity where that cannot be.

    It cannot where an input is returned as it is, or one value twice.
    """
    produced = {node.output: node for node in graph.nodes}
    renamed: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        source = node.inputs[0] if node.op_type == "Identity" else ""
        if source in produced and source not in renamed:
            renamed[source] = node.output
        else:
            kept.append(node)
    for node in kept:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        node.output = renamed.get(node.output, node.output)
    graph.nodes = kept


def fold_batch_norms(graph: Graph) -> None:
    """Put every batch norm into the convolution before it, where nothing else reads that convolution."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(name for name, _ in graph.outputs)
    producers = {node.output: node for node in graph.nodes}
    kept: list[Node] = []
    for node in graph.nodes:
        conv = producers.get(node.inputs[0]) if node.op_type == "BatchNormalization" else None
        if conv is not None and conv.op_type == "Conv" and readers[conv.output] == 1:
            _fold(graph, conv, node)
            producers[conv.output] = conv
        else:
            kept.append(node)
    graph.nodes = kept


def _fold(graph: Graph, conv: Node, norm: Node) -> None:
    """``norm(conv(x))`` as one convolution, in double precision. Every constant has one reader, so it may change."""
    scale, shift, mean, variance = (graph.constants.pop(name).astype(np.float64) for name in norm.inputs[1:])
    epsilon = norm.attributes["epsilon"]
    assert isinstance(epsilon, float)
    factor = scale / np.sqrt(variance + epsilon)
    weight_name = conv.inputs[1]
    weight = graph.constants[weight_name].astype(np.float64) * factor[:, None, None, None]
    bias = graph.constants[conv.inputs[2]].astype(np.float64) if len(conv.inputs) > 2 else np.zeros_like(mean)
    if len(conv.inputs) == 2:
        conv.inputs.append(weight_name.replace("weight", "folded_bias"))
    graph.constants[weight_name] = weight.astype(np.float32)
    graph.constants[conv.inputs[2]] = ((bias - mean) * factor + shift).astype(np.float32)
    conv.output = norm.output
