"""What is made when Muniment is built or installed: its C is compiled, and a wheel gets man pages.

Without a compiler Python does the same as the C.
"""

from __future__ import annotations

import hashlib
import os
import runpy
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = tuple(f"src/muniment/{name}.c" for name in ("copies", "digests", "dumps", "export", "pages", "rows"))
CALLERS = ("src/muniment/native.py", "src/muniment/smuggler/cut.py")
LIBRARY = "src/muniment/native.shared"
SEAL = "src/muniment/native.sha256"
MAN = "share/man/man1"
OPTIONS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC"]


class BuildHook(BuildHookInterface[Any]):
    """The library is loaded with ctypes, so it fits every Python, but only one kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the library in the wheel if that went well, and man pages unless it is a checkout's.

        Archives of the sources have neither.
        """
        if self.target_name != "wheel":
            return
        library = Path(self.root, LIBRARY)
        sources, callers = ([Path(self.root, name) for name in names] for names in (SOURCES, CALLERS))
        if compiled(sources, library, callers):
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["artifacts"] += [LIBRARY, SEAL]
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
        if version != "editable":
            build_data["shared_data"] |= {str(path): f"{MAN}/{path.name}" for path in man_pages(Path(self.root))}


def compiled(sources: Sequence[Path], library: Path, callers: Sequence[Path]) -> bool:
    """Whether the library was made, and beside it its SHA-256 and those of its callers; an older is removed if not."""
    made, seal = library.with_suffix(".new"), library.with_suffix(".sha256")
    for compiler in compilers():
        try:
            subprocess.run([*compiler, *OPTIONS, "-o", str(made), *map(str, sources)], check=True)
            digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (made, *callers)]
            made.replace(library)  # whoever has loaded the old one goes on with that
            seal.write_text("".join(f"{digest}\n" for digest in digests), "ascii")
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{library.stem} was not compiled, which costs speed and nothing else: {error}", file=sys.stderr)
        else:
            return True
    for path in (made, library, seal):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return False


def compilers() -> list[list[str]]:
    """The compiler that CC names, as for any other program, or the one that Python was made with, or the usual one."""
    if named := os.environ.get("CC"):
        return [shlex.split(named)]
    return [list(each) for each in dict.fromkeys(((shlex.split(sysconfig.get_config_var("CC") or "cc")[0],), ("cc",)))]


def man_pages(root: Path) -> list[Path]:
    """The man page of each command, written below `build/`."""
    sys.path.insert(0, str(root / "src"))
    folder = root / "build" / "man"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in runpy.run_path(str(root / "docs" / "man_pages.py"))["pages"]():
        written.append(folder / f"{name}.1")
        written[-1].write_text(text, encoding="utf-8")
    return written
