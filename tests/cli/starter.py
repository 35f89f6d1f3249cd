"""The other side of `tests.cli.process.muniment`: starts each command in a process of its own, by forking this one."""

from __future__ import annotations

import json
import os
import pkgutil
import socket
import sys
from importlib import import_module

import muniment
from muniment.cli import main

# Once for all commands, which would each load it for themselves.
for module in pkgutil.walk_packages(muniment.__path__, "muniment."):
    if module.name != "muniment.__main__":
        import_module(module.name)
for name in ("pyarrow.compute", "pyarrow.parquet", "rich.progress", "typer.rich_utils"):
    import_module(name)


def serve(number: int) -> None:
    """Start what is asked for on this socket, until nobody asks any more."""
    with socket.socket(fileno=number) as asking:
        while True:
            asked, streams, _, _ = socket.recv_fds(asking, 1 << 20, 2)
            if not asked:
                return
            child = os.fork()
            if child == 0:
                asking.close()
                arguments, cwd, env = json.loads(asked)
                os._exit(_command(arguments, cwd, env, streams))
            for stream in streams:
                os.close(stream)
            _, status = os.waitpid(child, 0)
            asking.send(str(os.waitstatus_to_exitcode(status)).encode())


def _command(arguments: list[str], cwd: str, env: dict[str, str], streams: list[int]) -> int:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, own in zip((nothing, *streams), (0, 1, 2), strict=True):
        os.dup2(stream, own)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    try:
        return main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
