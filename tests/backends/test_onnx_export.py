"""The exported graph means what the module means, whichever way it was exported."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backends import onnx_export
from backends.onnx_export import export_onnx
from backends.onnx_trace import UntraceableError, trace
from backends.testing import build

Shapes = tuple[tuple[int, ...], ...]
ONE: Shapes = ((1, 4, 9, 13),)
TWO: Shapes = ((1, 4, 8, 12), (1, 4, 8, 12))


class Lambda(nn.Module):
    """A module of one function, with a convolution and a norm at hand."""

    def __init__(self, function: Callable[..., Any], channels: int = 4, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(6)
        self.other = nn.Conv2d(6, 6, (3, 1), stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=3)
        self.scale = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.register_buffer("offset", torch.randn(channels, 1, 1))
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def resize(x: Tensor, **how: Any) -> Tensor:
    return F.interpolate(x, mode="bilinear", align_corners=False, **how)


def write_in_place(m: Lambda, x: Tensor) -> Tensor:
    y = m.conv(x)
    z = y * 2
    y += 1.5
    y.relu_()
    y *= m.scale.sum()
    return z + y


def branch_on_shape(m: Lambda, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    if x.dim() == 4 and x.size(1) == c and len(x) == n and x.is_floating_point():
        return resize(x, size=(h // 2 * 3, w - 1))
    return x


TRACED: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "conv": (lambda m, x: m.conv(x), ONE),
    "conv-norm": (lambda m, x: m.norm(m.conv(x)), ONE),
    "conv-norm-relu": (lambda m, x: F.relu(m.norm(m.conv(x)), inplace=True), ONE),
    "norm-of-a-conv-read-twice": (lambda m, x: (lambda y: m.norm(y) + y)(m.conv(x)), ONE),
    "norm-of-a-conv-returned-too": (lambda m, x: (lambda y: (m.norm(y), y))(m.conv(x)), ONE),
    "norm-twice": (lambda m, x: m.norm(m.norm(m.conv(x))), ONE),
    "norm-alone": (lambda m, x: m.norm(m.conv(x).relu()), ONE),
    "one-conv-twice": (lambda m, x: m.norm(m.conv(x)) + m.conv(x), ONE),
    "odd-conv": (lambda m, x: m.other(m.conv(x)), ONE),
    "sliced-weights": (lambda m, x: F.conv2d(x, m.conv.weight[:3], padding="valid"), ONE),
    "relus": (lambda m, x: torch.relu(x) + F.relu(x) + x.relu(), ONE),
    "sigmoid": (lambda m, x: torch.sigmoid(x) * x.sigmoid(), ONE),
    "softmax": (lambda m, x: F.softmax(x, dim=1) + x.softmax(-1) + torch.softmax(x, 2), ONE),
    "resize-by-size": (lambda m, x: resize(x, size=(5, 20)), ONE),
    "resize-to-one-row": (lambda m, x: resize(x, size=(1, 3)), ONE),
    "resize-by-factor": (lambda m, x: resize(x, scale_factor=2), ONE),
    "resize-down-by-factor": (lambda m, x: resize(x, scale_factor=0.5), ((2, 3, 8, 12),)),
    "cat": (lambda m, x, y: torch.cat([x, y, x], dim=1), TWO),
    "cat-negative": (lambda m, x, y: torch.cat((x, y), -1), TWO),
    "arithmetic": (lambda m, x, y: 2 * x + y * 0.5 + 1 + m.scale * x + m.offset, TWO),
    "same-tensor-twice": (lambda m, x: x + x * x, ONE),
    "max-pool": (lambda m, x: F.max_pool2d(x, 3, 2, padding=1), ONE),
    "max-pool-default-stride": (lambda m, x: F.max_pool2d(x, (2, 3)), ONE),
    "avg-pool": (lambda m, x: F.avg_pool2d(x, 3, 2, padding=1), ONE),
    "avg-pool-without-pad": (lambda m, x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False), ONE),
    "global-pool": (lambda m, x: x * F.adaptive_avg_pool2d(x, 1), ONE),
    "identity": (lambda m, x: x, ONE),
    "dropout": (lambda m, x: F.dropout(x, 0.5, m.training).contiguous(), ONE),
    "swap": (lambda m, x, y: (y, x), TWO),
    "one-value-twice": (lambda m, x: (lambda y: (y, y))(m.conv(x)), ONE),
    "several-outputs": (lambda m, x, y: [m.conv(x), x + y, y], TWO),
    "an-unused-input": (lambda m, x, y: m.conv(y), TWO),
    "in-place": (write_in_place, ONE),
    "shapes": (branch_on_shape, ONE),
}

# The exporter covers these; the tracer must refuse them and not guess.
REFUSED: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "unknown-function": (lambda m, x: torch.tanh(x), ONE),
    "resize-to-a-rounded-size": (lambda m, x: resize(x, scale_factor=0.5), ONE),
    "nearest": (lambda m, x: F.interpolate(x, scale_factor=2), ONE),
    "aligned-corners": (lambda m, x: F.interpolate(x, size=(4, 4), mode="bilinear", align_corners=True), ONE),
    "slice": (lambda m, x: x[:, :2] + 1, ONE),
    "alpha": (lambda m, x: torch.add(x, x, alpha=2), ONE),
    "ceil-mode": (lambda m, x: F.max_pool2d(x, 2, ceil_mode=True), ONE),
    "adaptive-pool": (lambda m, x: F.adaptive_avg_pool2d(x, (3, 1)), ONE),
    "same-padding": (lambda m, x: F.conv2d(x, m.conv.weight, padding="same"), ONE),
    "detached": (lambda m, x: x.detach() + 1, ONE),
}


def value_read(m: Lambda, x: Tensor) -> Tensor:
    return x * float(x.mean())


def swallowing(m: Lambda, x: Tensor) -> Tensor:
    try:
        return torch.tanh(x)
    except Exception:
        return x * 2


# No graph of constants can mean these.
UNTRACEABLE: dict[str, Callable[..., Any]] = {
    "value-read": value_read,
    "random": lambda m, x: x + torch.rand(1),
    "random-dropout": lambda m, x: F.dropout(x, training=True),
    "swallowed-refusal": swallowing,
    "unseen-origin": lambda m, x: x + UNSEEN,
    "no-tensor": lambda m, x: {"out": x},
    "a-constant": lambda m, x: m.scale * 2,
    "batch-statistics": lambda m, x: F.batch_norm(x, None, None, training=True),
    "weights-from-inputs": lambda m, x: F.conv2d(x, x * 1),
    "write-to-a-weight": lambda m, x: m.offset.add_(x.mean()),
    "double": lambda m, x: x * torch.ones(1, dtype=torch.float64),
}
UNSEEN = torch.ones(1)


def make(function: Callable[..., Any], shapes: Shapes, **how: Any) -> tuple[nn.Module, tuple[Any, ...]]:
    rng = np.random.default_rng(3)
    channels = shapes[0][1]
    module = build(lambda: Lambda(function, channels, **how))
    return module, tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)


def check(model: bytes, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [info.name for info in session.get_inputs()]
    assert names == [f"input_{index}" for index in range(len(inputs))]
    got = session.run(None, dict(zip(names, inputs, strict=True)))
    with torch.no_grad():
        want = module(*(torch.from_numpy(array.copy()) for array in inputs))
    want = [want] if isinstance(want, Tensor) else want
    assert [info.name for info in session.get_outputs()] == [f"output_{index}" for index in range(len(want))]
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-5)


@pytest.fixture
def no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the slow exporter was asked")

    monkeypatch.setattr(onnx_export, "_export_by_dynamo", refuse)


@pytest.mark.usefixtures("no_exporter")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", TRACED)
def test_the_traced_graph_is_the_module(name: str, bias: bool) -> None:
    module, inputs = make(*TRACED[name], bias=bias)
    check(export_onnx(module, inputs), module, inputs)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_tracer_refuses_is_named(name: str) -> None:
    module, inputs = make(*REFUSED[name])
    with pytest.raises(UntraceableError):
        trace(module, inputs)


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_no_trace_can_mean_is_refused(name: str) -> None:
    module, inputs = make(UNTRACEABLE[name], ONE)
    with pytest.raises(UntraceableError):
        trace(module, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unknown-function", "resize-to-a-rounded-size", "slice"])
def test_the_exporter_takes_what_the_tracer_refuses(name: str, caplog: pytest.LogCaptureFixture) -> None:
    module, inputs = make(*REFUSED[name])
    with caplog.at_level("INFO", logger="backends.onnx_export"):
        model = export_onnx(module, inputs)
    assert "torch.onnx.export" in caplog.text
    check(model, module, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv-norm-relu", "resize-by-factor", "several-outputs"])
def test_both_ways_mean_the_same(name: str) -> None:
    module, inputs = make(*TRACED[name])
    model = onnx_export._export_by_dynamo(module, inputs)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    check(model.SerializeToString(), module, inputs)


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv-norm-relu", ["Conv", "Relu"]),
        ("norm-of-a-conv-read-twice", ["Conv", "BatchNormalization", "Add"]),
        ("norm-of-a-conv-returned-too", ["Conv", "BatchNormalization"]),
        ("norm-twice", ["Conv"]),
        ("one-conv-twice", ["Conv", "Conv", "Add"]),
        ("identity", ["Identity"]),
        ("one-value-twice", ["Conv", "Identity"]),
        ("dropout", ["Identity"]),
    ],
)
def test_the_graph_holds_what_is_needed_and_no_more(name: str, expected: list[str]) -> None:
    assert operators(export_onnx(*make(*TRACED[name]))) == expected


def test_the_same_module_gives_the_same_bytes() -> None:
    first, second = (export_onnx(*make(*TRACED["one-conv-twice"])) for _ in range(2))
    assert first == second


def test_shapes_are_static_and_the_opset_is_18() -> None:
    model = onnx.load_from_string(export_onnx(*make(*TRACED["conv"])))
    assert model.opset_import[0].version == 18
    sizes = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == [1, 6, 9, 13]


def test_the_module_and_its_inputs_are_left_as_they_were() -> None:
    module, inputs = make(*TRACED["in-place"])
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    copies = [array.copy() for array in inputs]
    export_onnx(module, inputs)
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert all(np.array_equal(*pair) for pair in zip(inputs, copies, strict=True))


def test_a_module_in_training_mode_is_refused() -> None:
    module, inputs = make(*TRACED["conv-norm"])
    with pytest.raises(ValueError, match=r"eval\(\)"):
        export_onnx(module.train(), inputs)


def test_what_the_forward_raises_comes_through() -> None:
    def fail(m: Lambda, x: Tensor) -> Tensor:
        raise ArithmeticError("own")

    with pytest.raises(ArithmeticError, match="own"):
        export_onnx(*make(fail, ONE))


@pytest.mark.alone
def test_tracing_takes_milliseconds() -> None:
    """Against a second for the exporter. Time on the processor: waiting for a busy machine does not count."""
    module, inputs = make(*TRACED["conv-norm-relu"])
    times = []
    for _ in range(10):
        started = time.thread_time()
        export_onnx(module, inputs)
        times.append(time.thread_time() - started)
    assert min(times) < 0.02
