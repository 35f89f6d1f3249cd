"""The command `muniment`, which is `python -m muniment` too."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line of this process and return its exit code.

    While it is still loading, Ctrl-C ends it at once, for nothing has begun. What it does later,
    `muniment.cli.interrupts` says.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from muniment.cli import main as run  # here, because it takes most of the time that a small command takes

    return run()


def _stop(number: int, frame: FrameType | None) -> None:
    """Say so by the system alone: whatever is being loaded may be in any state."""
    try:
        os.write(2, b"error: stopped\nhint: nothing had begun; run it again\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
