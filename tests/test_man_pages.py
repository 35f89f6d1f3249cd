"""Every command has a man page in the wheel, which `man` finds nothing wrong with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.build import build_wheel

from docs.man_pages import pages

ROOT = Path(__file__).parents[1]


def test_every_command_has_a_page_that_man_reads() -> None:
    found = dict(pages())
    assert {"muniment", "muniment-restore", "muniment-smuggler", "muniment-smuggler-out"} <= found.keys()
    assert all(f".BR {name.replace('-', chr(92) + '-')} (1)" in "".join(found.values()) for name in found)
    restore = found["muniment-restore"]
    for option in ("--on-conflict", "--id-prefix", "--read-rate"):
        assert option.replace("-", "\\-") in restore
    assert ".nf\n$ muniment restore /mnt/backups/shop \\-\\-to shop\\-restored\n" in restore
    assert "\n[OPTIONS] [FOLDER|URL]\n" in found["muniment-doctor"]  # it may be left out
    assert "\n[OPTIONS] FILE\n" in found["muniment-encryption-generate-key"].replace("\\-", "-")
    for name, text in found.items():
        requests = set(re.findall(r"^[.']\w*", text, re.MULTILINE))
        assert requests <= {".TH", ".SH", ".PP", ".TP", ".B", ".BR", ".nf", ".fi"}, name
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff to read them with")
    said = subprocess.run(
        [groff, "-man", "-ww", "-z", "-Tutf8", "-K", "utf8"],
        input="".join(found.values()),
        capture_output=True,
        text=True,
    )
    assert said.stderr == ""


def test_they_are_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wheel = build_wheel(os.fspath(tmp_path))
    with ZipFile(tmp_path / wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".1")]
        assert len(names) == len(dict(pages()))
        assert all("/data/share/man/man1/muniment" in name for name in names)
        assert any(name.endswith("studio/attachments.js") for name in archive.namelist())
        assert any(name.endswith("cli/recover.md") for name in archive.namelist())
