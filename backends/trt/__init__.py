"""TensorRT and TensorRT-RTX. Importing this imports neither of them."""

from backends.trt.backend import TrtBackend

__all__ = ["TrtBackend"]
