"""The process that runs one graph that nobody has to trust: bounded memory and time, no files, no secrets.

`python -m services.image_classifier.versions.child <fd> <memory bytes> <processor seconds or 0>`; it ends with its
parent, which speaks first: the manifest, then batches of pixels.
"""

import ctypes
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from services.image_classifier.versions.framing import Ended, receive, send

PR_SET_PDEATHSIG = 1


def limit(memory_bytes: int, processor_s: int) -> None:
    """Give up what a graph could do harm with; each limit holds for this process alone and for good."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Where memory runs out before the limit below, the kernel ends this process and not the one that serves.
    # A container may forbid that; it makes the other limits no weaker, so a version runs without it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if processor_s:
        resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s))


def main() -> None:
    """Serve the parent until it hangs up."""
    descriptor, memory_bytes, processor_s = (int(argument) for argument in sys.argv[1:4])
    limit(memory_bytes, processor_s)
    # After the limits: a runtime that is loaded before them would not be bound by them.
    import numpy as np

    from services.image_classifier.model_version import InvalidModelVersion, Manifest, ModelVersion

    channel = socket.socket(fileno=descriptor)
    try:
        head, graph = receive(channel)
        try:
            model = ModelVersion.from_graph(Manifest.model_validate(head["manifest"]), graph, head["threads"])
        except (InvalidModelVersion, MemoryError) as error:
            send(channel, {"refused": str(error)[:400] or type(error).__name__})
            return
        send(channel, {"ready": True})
        while True:
            head, body = receive(channel)
            pixels = np.frombuffer(body, dtype=np.uint8).reshape(head["shape"])
            started = time.perf_counter()
            try:
                answer = np.ascontiguousarray(model.logits(pixels), dtype="<f4")
            except Exception as error:  # noqa: BLE001 - the runtime's errors have no common type; the parent is told
                send(channel, {"failed": f"{type(error).__name__}: {error}"[:400]})
                continue
            send(channel, {"seconds": time.perf_counter() - started, "shape": answer.shape}, answer.tobytes())
    except (Ended, OSError):
        return  # the parent has gone, and so does this process


if __name__ == "__main__":
    main()
