"""Asks a classifier as a stranger would, with Triton's public client: `client.py HOST:PORT TOKEN PIXELS.npy`.

It runs in an environment of its own (`.venv-protocol`) and prints what it found as JSON.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main(address: str, token: str, path: str) -> dict[str, object]:
    """Go through every call of the protocol, tensors as bytes and as JSON."""
    # Given as a copy each time: the client writes into what it gets.
    headers = {"Authorization": f"Bearer {token}"}
    client = triton.InferenceServerClient(address)
    server = client.get_server_metadata(headers=dict(headers))
    name = server["name"]
    metadata = client.get_model_metadata(name, headers=dict(headers))
    version = metadata["versions"][0]
    pixels = np.load(path)
    found: dict[str, object] = {
        "live": client.is_server_live(headers=dict(headers)),
        "ready": client.is_server_ready(headers=dict(headers)),
        "extensions": server["extensions"],
        "model_ready": client.is_model_ready(name, version, headers=dict(headers)),
        "other_ready": client.is_model_ready(name, "none", headers=dict(headers)),
        "input": metadata["inputs"][0],
    }
    for binary in (True, False):
        given = triton.InferInput("image", list(pixels.shape), "UINT8")
        given.set_data_from_numpy(pixels, binary_data=binary)
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
        answer = client.infer(
            name, [given], outputs=wanted, model_version=version, request_id="7", headers=dict(headers)
        )
        found["bytes" if binary else "json"] = answer.as_numpy("probabilities").tolist()
        found["id"] = answer.get_response()["id"]
    by_default = triton.InferInput("image", list(pixels.shape), "UINT8")
    by_default.set_data_from_numpy(pixels)
    found["default"] = client.infer(name, [by_default], headers=dict(headers)).as_numpy("probabilities").tolist()
    wrong = triton.InferInput("image", [1, 3, 2, 2], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 3, 2, 2), dtype=np.uint8))
    try:
        client.infer(name, [wrong], headers=dict(headers))
    except InferenceServerException as error:
        found["error"] = error.message()
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4])))
