"""The networks that FasterSeg is compared with: shapes, auxiliary heads, training, and export."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backends.onnx_export import export_onnx
from trainer.zoo import ZOO, build
from trainer.zoo._blocks import pool_to_bins
from trainer.zoo.enet import max_pool, max_unpool
from trainer.zoo.protocol import AuxiliaryNetwork

CLASSES = 5
AT_8 = {"fast-scnn", "df1-seg-d8"}
"""Those whose logits stay at 1/8; the others emit full size."""
WITH_AUXILIARY = [name for name, entry in ZOO.items() if entry.auxiliary]
SIZES = [(64, 96), (128, 160), (100, 150)]


def network(name: str, *, auxiliary: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return build(name, CLASSES, auxiliary)


def with_statistics(module: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that have something to fold and that keep activations at a scale of about 1."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.5, 0.5)
                part.momentum = 1.0
            elif isinstance(part, nn.PReLU):
                part.weight.uniform_(0.0, 0.5)
        module.train()(torch.randn(4, 3, 96, 96))
    return module.eval()


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("size", [(64, 64), (128, 160), (101, 151), (720, 960), (1024, 2048)], ids=str)
def test_the_logits_have_the_size_that_the_class_states(name: str, size: tuple[int, int]) -> None:
    height, width = size
    expected = (-(-height // 8), -(-width // 8)) if name in AT_8 else size
    with torch.device("meta"), torch.no_grad():
        logits = network(name).eval()(torch.empty(1, 3, height, width))
    assert tuple(logits.shape) == (1, CLASSES, *expected)


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_auxiliary_heads_are_there_when_asked_for_and_leave_the_logits_as_they_are(name: str) -> None:
    plain, full = network(name), network(name, auxiliary=True).eval()
    assert not hasattr(plain, "auxiliary_heads")
    assert isinstance(full, AuxiliaryNetwork)
    assert len(full.auxiliary_heads) == len(full.auxiliary_weights)
    extra = set(full.state_dict()) - set(plain.state_dict())
    assert extra and all(key.startswith("auxiliary_heads.") for key in extra)
    called = []
    for head in full.auxiliary_heads:
        head.register_forward_hook(lambda *_: called.append(True))
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        logits = full(image)
        assert not called
        main, auxiliary = full.with_auxiliary(image)
    assert len(called) == len(auxiliary) == len(full.auxiliary_weights)
    torch.testing.assert_close(main, logits)
    for other in auxiliary:
        assert other.shape[:2] == (1, CLASSES) and min(other.shape[2:]) > 1


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_a_network_without_its_heads_says_so(name: str) -> None:
    plain = network(name)
    with pytest.raises(RuntimeError, match="auxiliary=True"):
        plain.with_auxiliary(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize("name", [name for name in ZOO if name not in WITH_AUXILIARY])
def test_heads_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no auxiliary heads"):
        build(name, CLASSES, auxiliary=True)


@pytest.mark.parametrize("name", ZOO)
def test_gradient_reaches_every_parameter(name: str) -> None:
    auxiliary = name in WITH_AUXILIARY
    module = network(name, auxiliary=auxiliary).train()
    image = torch.randn(2, 3, 96, 64)
    outputs = [module(image)]
    if auxiliary:
        main, others = module.with_auxiliary(image)
        outputs = [main, *others]
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ZOO)
def test_eval_is_deterministic_and_does_not_mix_images(name: str) -> None:
    module = with_statistics(network(name))
    image = torch.randn(2, 3, 64, 80)
    beside_another = torch.cat([torch.randn(1, 3, 64, 80), image[1:]])
    with torch.inference_mode():
        first, again, other = module(image), module(image), module(beside_another)
    assert torch.equal(first, again)
    assert torch.equal(first[1:], other[1:])
    assert not torch.equal(first[:1], other[:1])


# ENet goes through PyTorch's own exporter, which takes its time.
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "enet" else n for n in ZOO])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_onnx_equals_torch(name: str, size: tuple[int, int]) -> None:
    module = with_statistics(network(name))
    worst = []
    # Where two values of a window differ by less than rounding, runtimes may take either for the maximum, and unpooling
    # puts it a pixel aside: of ENet's images one may be such a case, on machines that round otherwise, but not all.
    for _ in range(3 if name == "enet" else 1):
        image = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = module(image)
        (actual,) = run_onnx(module, image)
        # Logits of untrained networks have no scale of their own: the largest stands for it.
        error = np.abs(actual - expected.numpy()) / max(1.0, float(expected.abs().max()))
        assert np.mean(error > 1e-4) <= (0.02 if name == "enet" else 0.0)
        worst.append(error.max())
        if worst[-1] <= 1e-4:
            break
    assert min(worst) <= 1e-4


def run_onnx(module: nn.Module, image: Tensor) -> list[np.ndarray]:
    model = export_onnx(module, (image.numpy(),))
    # No operator of an extension, nothing that only one runtime knows.
    assert {node.domain for node in onnx.load_from_string(model).graph.node} == {""}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"input_0": image.numpy()})


def maps() -> Iterator[Tensor]:
    torch.manual_seed(1)
    for height, width in ((8, 6), (7, 10), (9, 5)):
        # Few values, so that windows have ties.
        yield torch.randint(-3, 4, (2, 3, height, width)).float()
        yield torch.randn(2, 3, height, width)


@pytest.mark.parametrize("x", list(maps()), ids=lambda x: "x".join(map(str, x.shape[2:])))
def test_unpooling_is_torchs(x: Tensor) -> None:
    pooled, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    ours, position = max_pool(x)
    assert torch.equal(ours, pooled)
    values = torch.randn_like(pooled)
    height, width = x.shape[2:]
    expected = F.max_unpool2d(values, indices, 2, output_size=(height, width))
    assert torch.equal(max_unpool(values, position, height, width), expected)


class PoolAndUnpool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pooled, position = max_pool(x)
        return max_unpool(pooled * 2, position, int(x.shape[2]), int(x.shape[3]))


@pytest.mark.parametrize("size", [(8, 6), (7, 9)], ids=str)
def test_unpooling_exports(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    x = torch.randint(-3, 4, (1, 3, *size)).float()
    (actual,) = run_onnx(PoolAndUnpool().eval(), x)
    np.testing.assert_array_equal(actual, PoolAndUnpool()(x).numpy())


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_pooling_to_bins_is_adaptive_pooling_where_the_size_is_a_multiple(bins: int) -> None:
    x = torch.randn(1, 2, 12, 18)
    torch.testing.assert_close(pool_to_bins(x, bins, bins), F.adaptive_avg_pool2d(x, bins))


def test_pooling_to_bins_leaves_no_pixel_out_and_has_no_more_bins_than_pixels() -> None:
    x = torch.ones(1, 1, 11, 4, requires_grad=True)
    y = pool_to_bins(x, 6, 6)
    assert tuple(y.shape) == (1, 1, 6, 4)
    y.sum().backward()
    assert x.grad is not None and (x.grad > 0).all()
