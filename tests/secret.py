"""A document whose text would be found in any file that holds it in clear."""

from __future__ import annotations

from pathlib import Path

from muniment import DocumentDatabase

SECRET = "Blaauw-Kestrel-9417"  # short enough to stand on one page


def filled(database: DocumentDatabase, prefix: str = "people") -> None:
    """Documents, history and an attachment, all with the secret: in ids, collections, metadata, bodies and content."""
    database.configure({"Muniment/History": "true"})
    for n in range(60):
        database.put(
            f"{prefix}/{SECRET}-{n}", {"Name": SECRET, "Text": SECRET * 40}, {"Raven-Entity-Name": SECRET, "By": SECRET}
        )
    database.put(f"{prefix}/{SECRET}-1", {"Name": f"{SECRET} the second"})
    database.delete(f"{prefix}/{SECRET}-2")
    database.put_attachment(f"{prefix}/{SECRET}.txt", f"{SECRET}\n".encode() * 2000)


def holding_secret(*folders: Path) -> list[str]:
    """The names of the files there, in any case and in any subfolder, whose name or content has it."""
    wanted = SECRET.lower().encode()
    return sorted(
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if wanted in path.name.lower().encode() or (path.is_file() and wanted in path.read_bytes().lower())
    )
