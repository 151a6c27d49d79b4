"""The names of the model server's requests and responses in KServe's v1 and v2 (Open Inference) protocols.

The model server reads requests by them, its OpenAPI document lists them, and collect reads logged bodies by them.
"""

from __future__ import annotations

from typing import Any

V1_FIELDS = ("instances", "parameters")
V1_PARAMETERS = ("debias", "purpose")
V1_EXPLAIN_PARAMETERS = (*V1_PARAMETERS, "max_new_tokens", "stream")
EVENT_STREAM = "text/event-stream"
"""The content type of an explanation with `stream`."""

V2_FIELDS = ("id", "parameters", "inputs", "outputs")
V2_PARAMETERS = ("debias", "purpose", "binary_data_output", "timeout", "content_type")
V2_CONTENT_TYPES = ("str", "np", "pd")
"""MLServer's codecs (named on a request, an input or an output) that leave a string in a BYTES element unchanged."""

REQUIRED_INPUTS = ("question", "choices")
OPTIONAL_INPUTS = ("code", "id", "subject")
INPUTS = REQUIRED_INPUTS + OPTIONAL_INPUTS
INPUT_TYPES: list[dict[str, Any]] = [
    {"name": name, "datatype": "BYTES", "shape": [-1, -1] if name == "choices" else [-1]} for name in INPUTS
]

OUTPUTS = {
    "letter": "BYTES",
    "index": "INT32",
    "choice": "BYTES",
    "probabilities": "FP32",
    "confidence": "FP32",
    "margin": "FP32",
    "entropy": "FP32",
    "letter_mass": "FP32",
    "prompt_tokens": "INT32",
}
"""Datatypes of the output tensors, which are called as the fields of an Answer."""
OUTPUT_TYPES: list[dict[str, Any]] = [
    {"name": name, "datatype": datatype, "shape": [-1, -1] if name == "probabilities" else [-1]}
    for name, datatype in OUTPUTS.items()
]
