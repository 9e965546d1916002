"""`RIVALS=1 make bench`: other servers of the same graph with the same decode, in an environment of their own.

Each gets its batching switched on, as its documentation advises, and processes enough for every core: whatever of
these was quicker here. Nothing but the server differs: `rival_servers/` holds what each needs, a page each.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from deploy.local.system import REPOSITORY
from shared.testing import free_port
from tests.benchmarks.contenders import server
from tests.benchmarks.load import Target

PYTHON = REPOSITORY / ".venv-rivals" / "bin" / "python"
SERVERS = {
    "mosec": ("tests.benchmarks.rival_servers.mosec_server", "/inference", "/metrics"),
    "LitServe": ("tests.benchmarks.rival_servers.litserve_server", "/predict", "/health"),
    "BentoML": ("tests.benchmarks.rival_servers.bentoml_server", "/predictions", "/readyz"),
}


def running(stack: ExitStack, model_folder: Path) -> list[tuple[str, Target, int]]:
    """Start every rival until the stack closes; return the name, where photos go, and the process that is its root."""
    if not PYTHON.exists():
        raise SystemExit("There is no .venv-rivals: `make bench RIVALS=1` makes it.")
    started = []
    for name, (module, path, ready) in SERVERS.items():
        port = free_port()
        command: Sequence[str] = [str(PYTHON), "-m", module, "--port", str(port)]
        environment = os.environ | {"BENCH_MODEL": str(model_folder), "PYTHONPATH": str(REPOSITORY)}
        pid = stack.enter_context(server(command, port, ready, environment))
        started.append((name, Target(port, "POST", [(path, "none")]), pid))
    return started
