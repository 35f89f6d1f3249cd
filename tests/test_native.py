"""The digests in C are left to Python wherever they cannot be made, or not be trusted."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import hatch_build
from muniment import native
from muniment.doctor import _software
from muniment.fingerprint import digests_in_python, in_c
from muniment.native import Native
from muniment.revision import DOCUMENT, Batch, Packed, Revision
from muniment.storage.sqlite import rows

SOURCES = [Path(hatch_build.__file__).parent / source for source in hatch_build.SOURCES]
NONE = "it was not compiled: there is no compiler, or no libcrypto that it can call"


def batch() -> Batch:
    return Batch.of([Revision(n, DOCUMENT, f"a{n}", "Orders", 5, b"{}", b"{1}", 3) for n in range(20)])


@pytest.fixture
def anew() -> Iterator[None]:
    """What a test finds to be there is looked for again after it."""
    yield
    native.look.cache_clear()
    in_c.cache_clear()


def test_a_damaged_library_is_not_loaded_which_would_end_the_process(tmp_path: Path) -> None:
    if in_c() is None:
        pytest.skip(NONE)
    whole, sealed = native.LIBRARY.read_bytes(), native.SEAL.read_text("ascii")
    cut, foreign = whole[: len(whole) // 2], whole[:18] + b"\xff\xff" + whole[20:]
    zeros = whole[: len(whole) // 4] + bytes(len(whole) - len(whole) // 4)
    cases = [
        (cut, sealed),
        (zeros, sealed),
        (foreign, sealed),
        (b"", sealed),
        (whole, ""),
        (whole, "é"),
        (whole, sealed.splitlines()[0]),
        (whole, sealed[:-2] + "x"),  # one of those that call it is of another version
        (whole, sealed),
    ]
    for number, (library, seal) in enumerate(cases):
        tmp_path.joinpath(f"{number}.shared").write_bytes(library)
        tmp_path.joinpath(f"{number}.sha256").write_text(seal, "utf-8")
    code = (
        "import sys; from pathlib import Path; from muniment import fingerprint, native\n"
        "for number in range(int(sys.argv[2])):\n"
        "    native.LIBRARY, native.SEAL = (Path(sys.argv[1], f'{number}.{end}') for end in ('shared', 'sha256'))\n"
        "    native.look.cache_clear(); fingerprint.in_c.cache_clear(); print(fingerprint.in_c() is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, str(len(cases))], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["False"] * 8 + ["True"]), done.stderr


def test_the_doctor_tells_what_is_done_in_c_and_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: None
) -> None:
    def told() -> str:
        native.look.cache_clear()
        in_c.cache_clear()
        return _software().text

    all_parts = "digests, rows, imports, exports, copies to PostgreSQL"
    if native.load() is None:
        assert f"in Python, which is slower: {all_parts} (" in told()
        pytest.skip(NONE)
    assert f"; in C: {all_parts}" in told()
    assert "in Python" not in told()
    monkeypatch.setattr(rows, "in_c", lambda: None)
    assert "; in C: digests, imports, exports, copies to PostgreSQL" in told()
    assert "; in Python, which is slower: rows (this apsw loads no extensions of SQLite)" in told()
    monkeypatch.setattr(native, "SEAL", tmp_path / "seal")
    assert f"; in Python, which is slower: {all_parts} (nothing was compiled" in told()
    (tmp_path / "seal").write_bytes(b"another")
    assert f"; in Python, which is slower: {all_parts} (what was compiled is damaged" in told()
    monkeypatch.undo()  # before `anew` looks again


def test_a_libcrypto_that_makes_no_digests_is_left_alone(monkeypatch: pytest.MonkeyPatch, anew: None) -> None:
    if native.load() is None:
        pytest.skip(NONE)
    refuses = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
    functions = (ctypes.c_void_p * 3)(*[ctypes.cast(refuses, ctypes.c_void_p)] * 3)
    refusing = Native(ctypes.CDLL(str(native.LIBRARY)), functions)
    with pytest.raises(ValueError, match="libcrypto made no digest"):
        refusing.digests(batch())
    monkeypatch.setattr(native, "load", lambda: refusing)
    in_c.cache_clear()
    assert in_c() is None
    monkeypatch.undo()  # before `anew` looks again


def test_columns_of_another_width_are_refused_and_what_lies_where_there_is_no_value_does_not_count() -> None:
    if (library := in_c()) is None:
        pytest.skip(NONE)
    good = batch()
    narrow = array("h", good.ids.offsets)
    with pytest.raises(ValueError, match="numbers"):
        library.digests(replace(good, ids=Packed(narrow, good.ids.data)))
    with pytest.raises(ValueError, match="numbers"):
        library.digests(replace(good, etags=array("i", good.etags)))
    hidden = replace(good, collections=Packed(good.collections.offsets, good.collections.data, [3, 19]))
    assert library.digests(hidden) == digests_in_python(hidden)


def test_what_cannot_be_compiled_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "native.shared"
    compiler = shutil.which("cc")
    if compiler is not None:
        monkeypatch.setenv("CC", f"{compiler} -g0")
        assert hatch_build.compiled(SOURCES, library, [])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["native.sha256", "native.shared"]
    for named in ("/nonexistent", "false"):
        monkeypatch.setenv("CC", named)
        assert not hatch_build.compiled(SOURCES, library, [])
        assert not list(tmp_path.iterdir())
    monkeypatch.delenv("CC")
    assert not hatch_build.compiled(SOURCES, tmp_path / "no folder" / "native.shared", [])
