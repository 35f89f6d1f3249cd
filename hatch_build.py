"""Compiles the C of Muniment when it is built or installed, if there is a compiler: without, Python does the same."""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "src/muniment/digests.c"
LIBRARY = "src/muniment/digests.shared"
OPTIONS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC"]


class CompileHook(BuildHookInterface[Any]):
    """The library is loaded with ctypes, so it fits every Python, but only one kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the library in the wheel if that went well."""
        library = Path(self.root, LIBRARY)
        if compiled(Path(self.root, SOURCE), library):
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["artifacts"].append(LIBRARY)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"


def compiled(source: Path, library: Path) -> bool:
    """Whether the library was made; an older one is removed if not."""
    made = library.with_suffix(".new")
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    for command in dict.fromkeys((compiler, "cc")):
        try:
            subprocess.run([command, *OPTIONS, "-o", str(made), str(source)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{source.name} was not compiled, which costs speed and nothing else: {error}", file=sys.stderr)
        else:
            made.replace(library)  # whoever has loaded the old one goes on with that
            return True
    for path in (made, library):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return False
