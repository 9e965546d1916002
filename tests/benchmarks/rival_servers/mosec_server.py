"""mosec: two processes decode, one asks the model in batches. `--port` is mosec's own option."""

import os
from pathlib import Path
from typing import Any

from mosec import Server, Worker

from services.image_classifier.decode import Picture, decode
from services.image_classifier.model_version import ModelVersion, read_manifest

MODEL = Path(os.environ["BENCH_MODEL"])


class Decode(Worker):  # type: ignore[misc]  # mosec is not in the environment that is type-checked
    """Bytes to a picture."""

    def __init__(self) -> None:
        self.size = read_manifest(MODEL).input_size

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def forward(self, data: bytes) -> Picture:
        """Decode one photo."""
        return decode(data, self.size)


class Predict(Worker):  # type: ignore[misc]  # as above
    """Pictures to answers."""

    def __init__(self) -> None:
        self.model = ModelVersion.load(MODEL)

    def forward(self, data: list[Picture]) -> list[dict[str, Any]]:
        """Ask the model about a batch."""
        return [
            {"label": one.label.value, "cat": one.probabilities.cat, "dog": one.probabilities.dog}
            for one in self.model.predict(data)
        ]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=os.cpu_count() or 1)
    server.append_worker(Predict, num=1, max_batch_size=16, max_wait_time=2)
    server.run()
