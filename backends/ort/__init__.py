"""ONNX Runtime: on the CPU, and through its providers for CUDA and TensorRT."""

from backends.ort.cpu import OrtBackend
from backends.ort.gpu import OrtCudaBackend, OrtTensorRtBackend

__all__ = ["OrtBackend", "OrtCudaBackend", "OrtTensorRtBackend"]
