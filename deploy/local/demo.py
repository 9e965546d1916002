"""`make demo`: the system at work on photos whose truth is known, in the terminal."""

import signal


def main() -> None:
    """Run the demo's command line."""
    # While modules load there is nothing to end yet: Ctrl-C just ends this process, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from deploy.local.showing import app

    app()


if __name__ == "__main__":
    main()
