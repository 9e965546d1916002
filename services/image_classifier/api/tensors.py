"""Tensors of the Open Inference Protocol: pictures in, chances out, as JSON or as plain bytes behind it."""

import json
import math
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from shared.problem import Problem

EXTENSION: Final = "binary_tensor_data"
HEAD_LENGTH: Final = "Inference-Header-Content-Length"
BATCH: Final = 16
SIZE: Final = "binary_data_size"

Parameters = dict[str, JsonValue]


class Tensor(BaseModel):
    """A tensor, its data in rows or flat, or behind the JSON if its `parameters` have `binary_data_size`."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] = []


class Input(Tensor):
    """The pixels."""

    name: Literal["image"]
    datatype: Literal["UINT8"]
    shape: Annotated[list[int], Field(min_length=4, max_length=4)]
    parameters: Parameters = {}


class Output(BaseModel):
    """A wish for an output; there is one."""

    name: Literal["probabilities"]
    parameters: Parameters = {}


class InferenceRequest(BaseModel):
    """One input; of what else the protocol knows, `outputs` and `parameters` say whether bytes are wanted back."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 3, 128, 128]}]}}
    )

    id: Annotated[str | None, Field(max_length=200)] = None
    inputs: Annotated[list[Input], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[Output], Field(max_length=1)] = []
    parameters: Parameters = {}


class InferenceAnswer(BaseModel):
    """One output."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model_name": "huella", "model_version": "1", "id": "7", "outputs": []}}
    )

    model_name: str
    model_version: str
    id: str | None
    outputs: list[Tensor]


def _whole(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its definitions in place: this body is read by hand, so OpenAPI has none of them."""
    if isinstance(schema, list):
        return [_whole(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _whole(value, definitions) for key, value in schema.items() if key != "$defs"}


_SCHEMA = InferenceRequest.model_json_schema()
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"A JSON document; of bytes behind it, `{HEAD_LENGTH}` says where they begin.",
        "content": {
            "application/json": {"schema": _whole(_SCHEMA, _SCHEMA["$defs"])},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def read(content: bytes, head_size: str | None, size: int) -> tuple[InferenceRequest, npt.NDArray[np.uint8]]:
    """Return a request and its pictures, (n, size, size, 3). Raises Problem 422."""
    if head_size is not None and not (head_size.isascii() and head_size.isdigit() and len(head_size) < 10):
        raise Problem(422, "invalid-request", f"`{HEAD_LENGTH}` is the number of bytes that the JSON has.")
    end = len(content) if head_size is None else int(head_size)
    try:
        asked = InferenceRequest.model_validate_json(content[:end])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Problem(422, "invalid-request", f"{where}: {first['msg']}. Correct it and send it again.") from None
    tensor = asked.inputs[0]
    if tensor.shape[1:] != [3, size, size] or not 1 <= tensor.shape[0] <= BATCH:
        raise Problem(422, "invalid-tensor", f"`image` has the shape [1 to {BATCH}, 3, {size}, {size}].")
    planes = _bytes(tensor, content[end:]) if SIZE in tensor.parameters else _numbers(tensor)
    return asked, np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _bytes(tensor: Input, rest: bytes) -> npt.NDArray[np.uint8]:
    number = math.prod(tensor.shape)
    if tensor.parameters[SIZE] != number or len(rest) != number:
        raise Problem(422, "invalid-tensor", f"`image` has {number} bytes behind the JSON, and `{SIZE}` says so.")
    return np.frombuffer(rest, dtype=np.uint8).reshape(tensor.shape)


def _numbers(tensor: Input) -> npt.NDArray[np.uint8]:
    try:
        values = np.asarray(tensor.data, dtype=np.int64).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError):
        raise Problem(422, "invalid-tensor", "`data` does not hold the whole numbers that `shape` says.") from None
    if values.min() < 0 or values.max() > 255:
        raise Problem(422, "invalid-tensor", "UINT8 is 0 to 255.")
    return values.astype(np.uint8)


def written(asked: InferenceRequest, model: str, version: str, chances: list[float]) -> Response:
    """Return the answer, in bytes if they were asked for."""
    output: dict[str, Any] = {"name": "probabilities", "datatype": "FP32", "shape": [len(chances) // 2, 2]}
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "id": asked.id, "outputs": [output]}
    wish = asked.outputs[0].parameters.get("binary_data") if asked.outputs else None
    if not (asked.parameters.get("binary_data_output") if wish is None else wish):
        output["data"] = chances
        return JSONResponse(answer)
    values = np.asarray(chances, dtype="<f4").tobytes()
    output["parameters"] = {SIZE: len(values)}
    head = json.dumps({key: value for key, value in answer.items() if value is not None}).encode()
    headers = {HEAD_LENGTH: str(len(head))}
    return Response(head + values, headers=headers, media_type="application/octet-stream")
