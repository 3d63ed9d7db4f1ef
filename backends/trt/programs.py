"""An engine, and one loading of it with its inputs and outputs on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backends.compiling import compile_errors
from backends.cuda import OUT_OF_MEMORY, Cuda, CudaError
from backends.errors import CompileError
from backends.protocol import Array, Program, Runner, Shape, Workload
from backends.trt import files
from backends.trt.flavours import Api
from backends.trt.log import log_of

_DTYPES: Mapping[str, Any] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT64": np.int64,  # A network may end in the classes' indices.
    "INT32": np.int32,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


class TrtProgram(Program):
    """A serialized engine.

    Args:
        api: the runtime.
        cuda: the device.
        stream: what everything is enqueued on.
        workload: where the inputs come from.
        engine: serialized.
        kernels: the name under which the kernels that TensorRT-RTX compiles at loading are kept.
        cuda_graph: capture a run, and replay it.
    """

    def __init__(
        self, api: Api, cuda: Cuda, stream: int, workload: Workload, engine: bytes, *, kernels: str, cuda_graph: bool
    ) -> None:
        self._api, self._cuda, self._stream = api, cuda, stream
        self._workload, self._engine = workload, engine
        self._kernels, self._cuda_graph = kernels, cuda_graph

    def load(self) -> Runner:
        """The engine deserialized anew, with memory of its own, run once."""
        inputs = {f"input_{index}": array for index, array in enumerate(self._workload.inputs())}
        runner = TrtRunner(self._api, self._cuda, self._stream, self._workload.name)
        try:
            with compile_errors(self._workload.name):
                runner.load(self._engine, inputs, kernels=self._kernels, cuda_graph=self._cuda_graph)
        except CudaError as error:
            runner.close()
            if error.name in OUT_OF_MEMORY:  # Of this workload's size; the others may well fit.
                raise CompileError(f"{self._workload.name}: {error.message}") from error
            raise
        except BaseException:
            runner.close()
            raise
        return runner

    def close(self) -> None:
        """Nothing: the engine goes with the program."""


class TrtRunner(Runner):
    """An execution context with memory on the device. Empty until ``load``."""

    def __init__(self, api: Api, cuda: Cuda, stream: int, workload: str) -> None:
        self._api, self._cuda, self._stream, self._workload = api, cuda, stream, workload
        self._context: Any = None
        self._engine: Any = None
        self._graph: Any = None
        self._addresses: dict[str, int] = {}
        self._outputs: list[tuple[int, Shape, Any]] = []

    def load(self, engine: bytes, inputs: Mapping[str, Array], *, kernels: str, cuda_graph: bool) -> None:
        """Take the engine in, put the inputs on the device, and run once.

        Args:
            engine: serialized.
            inputs: by name.
            kernels: as ``TrtProgram`` has it.
            cuda_graph: likewise.
        """
        module, log = self._api.module, log_of(self._api.module)
        log.take()
        self._engine = module.Runtime(log).deserialize_cuda_engine(engine)
        if self._engine is None:
            self._refuse("the engine cannot be loaded")
        keep = self._make_context(kernels)
        self._allocate(inputs)
        self._enqueue()
        self._cuda.synchronize(self._stream)
        keep()
        if cuda_graph:
            self._capture()

    def run(self) -> None:
        """Enqueue one run."""
        if self._context is None:
            raise RuntimeError("this runner is closed")
        if self._graph is not None:
            self._cuda.launch(self._graph, self._stream)
        else:
            self._enqueue()

    def outputs(self) -> tuple[Array, ...]:
        """Copies of what the last run wrote."""
        self._cuda.synchronize(self._stream)
        return tuple(self._cuda.download(address, shape, dtype) for address, shape, dtype in self._outputs)

    def close(self) -> None:
        """Free the graph, the context, the engine and the memory, once nothing runs any more."""
        if self._addresses:
            self._cuda.synchronize(self._stream)
        if self._graph is not None:
            graph, self._graph = self._graph, None
            self._cuda.free_graph(graph)
        self._context = None
        self._engine = None
        self._outputs = []
        while self._addresses:
            self._cuda.free(self._addresses.popitem()[1])

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            self._refuse("the engine cannot be run")

    def _capture(self) -> None:
        # Only TensorRT-RTX can tell: a capture of what it would compile in the middle of the run fails.
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._stream):
            self._refuse("a run cannot be captured as a CUDA graph")
        self._graph = self._cuda.capture(self._stream, self._enqueue)

    def _make_context(self, kernels: str) -> Callable[[], None]:
        """An execution context; what is returned keeps the kernels that its first run has compiled."""
        if not hasattr(self._engine, "create_runtime_config") or not self._api.flavour.builds_ahead:
            self._context = self._engine.create_execution_context()
            if self._context is None:
                self._refuse("there is no execution context")
            return lambda: None
        config = self._engine.create_runtime_config()
        compiled = config.create_runtime_cache()
        kept = files.read(kernels) or b""
        if kept:
            compiled.deserialize(kept)  # Says no to kernels of another driver: then it compiles, as without any.
        config.set_runtime_cache(compiled)
        self._context = self._engine.create_execution_context(config)
        if self._context is None:
            self._refuse("there is no execution context")

        def keep() -> None:
            now = bytes(compiled.serialize())
            if now != kept:
                files.write(kernels, now)

        return keep

    def _allocate(self, inputs: Mapping[str, Array]) -> None:
        engine, outputs = self._engine, {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape, dtype = tuple(engine.get_tensor_shape(name)), _DTYPES[engine.get_tensor_dtype(name).name]
            address = self._cuda.allocate(max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize))
            self._addresses[name] = address
            if engine.get_tensor_mode(name).name == "INPUT":
                self._cuda.upload(address, np.ascontiguousarray(inputs[name].astype(dtype, copy=False)))
            else:
                outputs[name] = (address, shape, dtype)
            if not self._context.set_tensor_address(name, address):
                self._refuse(f"{name} cannot be bound")
        self._outputs = [outputs[f"output_{index}"] for index in range(len(outputs))]

    def _refuse(self, what: str) -> None:
        said = "; ".join(log_of(self._api.module).take())
        raise CompileError(f"{self._workload}: {what}{': ' if said else ''}{said}")
