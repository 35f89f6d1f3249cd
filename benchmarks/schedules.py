"""What a server's schedule for a thousand databases costs while nothing is due.

    python benchmarks/schedules.py [--seconds 60] [--databases 1000]

Prints the share of a core that the server takes over that time, without a schedule and with it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from muniment import DocumentDatabase, Put
from muniment.raven3.names import DATABASES, SYSTEM_FOLDER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--databases", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        with DocumentDatabase(data / SYSTEM_FOLDER) as system:
            names = [f"shop{number}" for number in range(asked.databases)]
            system.batch([Put(DATABASES + name, {"Settings": {"Raven/DataDir": f"~/{name}"}}) for name in names])
        command = [sys.executable, "-m", "muniment", "server", "--data-dir", str(data), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert server.stdout is not None
        try:
            with httpx.Client(base_url=server.stdout.readline().strip(), headers={"Muniment-Request": "1"}) as client:
                print(f"without schedules: {share(server.pid, asked.seconds):.3%} of a core")
                schedule: dict[str, object] = {"Destination": "~/Backups", "Full": "0 1 1 1 *", "Expire": "0 2 1 1 *"}
                schedule |= {"Verify": "0 3 1 1 *", "Retention": {"KeepLast": 3}, "Jitter": "10m"}
                client.put("/admin/schedules/all", json=schedule).raise_for_status()
                print(f"with a schedule of {len(names):,} databases: {share(server.pid, asked.seconds):.3%} of a core")
        finally:
            server.terminate()
            server.wait()


def share(process: int, seconds: float) -> float:
    """How much of a core it takes in this time, on the average."""
    before = used(process)
    time.sleep(seconds)
    return (used(process) - before) / seconds


def used(process: int) -> float:
    """The seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
