"""`make up`: the system on this machine in the foreground, until Ctrl-C or SIGTERM."""

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.local.system import System


def main() -> int:
    """Run until somebody asks to end; 0 after a clean end, 1 with one line on what is wrong."""
    # While modules load there is nothing to end yet: Ctrl-C just ends this process, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from deploy.local.running import Interrupted, configured, interruptible, running
    from deploy.local.system import CannotStart

    try:
        with interruptible():
            system = configured()
            with running(system, say) as manager:
                say(summary(system))
                code = manager.wait()
                say(f"The process manager ended by itself ({code}); see {system.logs / 'supervisord.log'}")
                return 1
    except Interrupted:
        return 0
    except CannotStart as error:
        print(f"Huella can't start: {error}", file=sys.stderr)
        return 1


def say(line: str) -> None:
    print(line, flush=True)


def summary(system: "System") -> str:
    """Return what a person needs to know of a running system."""
    rows = [
        ("the page", system.url("dashboard")),
        ("camera ingest", f"{system.url('camera_ingest')}/docs"),
        ("image classifier", f"{system.url('image_classifier')}/docs"),
        ("aggregation", f"{system.url('aggregation')}/docs"),
        ("data, logs", f"{system.data}, {system.logs}"),
        ("a token", "make token ROLE=viewer      (or operator, admin)"),
        ("processes", f"{sys.executable} -m supervisor.supervisorctl -c {system.supervisord_conf} status"),
        ("to stop", f"Ctrl-C, or kill {os.getpid()}"),
    ]
    first_link = system.data / "dashboard" / "first-link"
    if first_link.exists():
        rows.insert(1, ("first log-in", f"{first_link.read_text().strip()}  (makes the administrator, once)"))
    return "\n".join(["Huella is ready.", *(f"  {name:<18}{value}" for name, value in rows)])


if __name__ == "__main__":
    sys.exit(main())
