"""ONNX Runtime, which by default tells its maker about each machine and model: here it does not.

From 1.29 on its Linux build keeps an id of the machine in the home folder, and sends it with the model's name and its
graph's hash to a collector, unless this variable stands in the environment when the library is loaded.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
