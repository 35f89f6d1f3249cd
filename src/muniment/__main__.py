"""The command `muniment`, which is `python -m muniment` too."""

import signal
import sys


def main() -> int:
    """Run the command line of this process and return its exit code.

    While it is still loading, Ctrl-C ends it as it ends any other program: at once and without a word, for nothing has
    begun. What it does later, `muniment.cli.interrupts` says.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from muniment.cli import main as run  # here, because it takes most of the time that a small command takes

    return run()


if __name__ == "__main__":
    sys.exit(main())
