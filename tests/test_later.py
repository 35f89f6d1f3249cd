"""What is heavy is loaded by those who use it, and only then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from muniment.later import Later

HEAVY = (
    "pyarrow",
    "httpx",
    "granian",
    "rich.console",
    "cryptography",
    "isal",
    "asyncio",
    "multiprocessing",
    "filelock",
    "pydantic",
    "unittest",
)


def loaded(program: str) -> set[str]:
    """Which of the heavy modules a new process has loaded after this."""
    code = f"import sys\n{program}\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {*HEAVY} & {*ended.stdout.split()}


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        ("import muniment", set()),
        ("import muniment.workers", set()),
        ("import muniment.cli", set()),
        ("import muniment.cli.database", {"isal"}),
        ("from muniment import DocumentDatabase", {"isal"}),
        ("import muniment.backup.child", {"cryptography"}),
        ("import muniment.backup.examine", {"cryptography"}),
        ("import muniment.smuggler.read_ahead", {"isal"}),
    ],
)
def test_no_process_loads_what_it_may_not_need(program: str, wanted: set[str]) -> None:
    assert loaded(program) == wanted


def test_a_module_that_comes_later_is_that_module() -> None:
    assert "pyarrow" in loaded("from muniment.backup.parquet import DOCUMENTS; DOCUMENTS.arrow")
    json = Later("json")
    assert json.loads("[1]") == [1]
    assert json.loads is json.loads
    with pytest.raises(AttributeError, match="nothing"):
        json.nothing  # noqa: B018
