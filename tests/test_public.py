"""The public surface: what users may import, and nothing by accident."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import muniment

EXPORTED = """
    AsyncDocumentStore Attachment BackupOperation BackupStatus Delete Document DocumentDatabase DocumentQuery
    DocumentStore IndexField Key Keyring MaintenanceActions MunimentError Page Passphrase Policy Progress Protection Put
    Results Selection Session SmugglerOptions Statistics Written __version__ field read_recipient rehearse
""".split()


def test_the_exported_names_are_these() -> None:
    assert muniment.__all__ == EXPORTED


def test_every_exported_name_is_there_and_documented() -> None:
    for name in muniment.__all__:
        value = getattr(muniment, name)
        assert isinstance(value, str) or (value.__doc__ or "").strip(), name
        for member, of in vars(value).items() if isinstance(value, type) else ():
            if not member.startswith("_") and callable(of):
                assert of.__doc__, f"{name}.{member}"


def test_exported_classes_do_not_move() -> None:
    """Pickles and log lines name the module in which a class lives; this is where it is found."""
    for name in set(muniment.__all__) - {"__version__"}:
        value = getattr(muniment, name)
        assert getattr(sys.modules[value.__module__], name) is value


def test_the_version_is_the_package_s() -> None:
    assert muniment.__version__ == version("muniment")


def test_the_package_is_typed() -> None:
    assert (Path(muniment.__file__).parent / "py.typed").is_file()


def test_importing_it_prints_and_starts_nothing() -> None:
    code = "import muniment, threading; assert threading.active_count() == 1"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_what_is_not_asked_for_is_not_loaded() -> None:
    """A child process that reads one file should not wait for an HTTP client."""
    program = (
        "import sys, muniment; print([name for name in ('httpx', 'pyarrow', 'apsw', 'msgspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    program = "import muniment; assert set(muniment.__all__) <= set(dir(muniment)); from muniment import *; print(Put)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "<class 'muniment.command.Put'>"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'muniment' has no attribute 'DocumentDatabse'"):
        muniment.DocumentDatabse  # type: ignore[attr-defined]  # noqa: B018
