"""The help teaches: every option, an example for every command, every exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
import typer

from muniment import errors
from muniment.cli import ABOUT, app
from muniment.cli.interrupts import SIGNALS
from tests.cli.process import environment, muniment
from tests.sampled import some

POINT = ["--at", "--etag", "--backup", "--lineage", "--utc"]
KEY = "--key-file"
OPENS = ["--passphrase-file", "--identity", "--require-signature", "--allow-clear"]
SEALS = ["--recipient", "--sign-with"]
KEYS = [
    f"--{name}" for name in "api-key api-key-file username password domain ca-file client-certificate insecure".split()
]
SERVER = ["--url", "--nowait", *KEYS]
SERVED = ["--url", "--database", "--all-databases", "--nowait", "--timeout", "--readkey", *KEYS]
PACE = ["--read-rate", "--write-rate", "--niceness", "--hours"]
LIMITS = ["--fail-if-older", "--fail-if-unverified", "--fail-if-unrehearsed"]
PART = ["--collection", "--id", "--id-prefix"]
FILTERS = ["--filter", "--negative-filter", "--metadata-filter", "--negative-metadata-filter"]
CARRIED = [
    *("--operate-on-types", *FILTERS, "--transform", "--transform-file", "--excludeexpired"),
    *("--ignore-errors-and-continue", "--limit", "--batch-size", "--timeout", *KEYS),
]
POLICY = [
    *("--keep-last", "--keep-within", "--keep-hourly", "--keep-daily", "--keep-weekly", "--keep-monthly"),
    *("--keep-yearly", "--restorable-within", "--merge-after", "--time-zone"),
]
TIMES = [
    *("--full", "--incremental", "--verify", "--rehearse", "--expire", "--database", "--jitter", "--grace"),
    "--rehearsal-query",
]
COMMANDS = {
    "backup": [
        "FOLDER|URL",
        "--dest",
        "--incremental",
        "--new-chain",
        "--skip-damaged",
        "--if-older-than",
        "--ping-url",
        KEY,
        "--passphrase-file",
        *SEALS,
        "--in-clear",
        "--include-encryption-key",
        *PACE,
        *SERVED,
        "--json",
        "--quiet",
    ],
    "restore": [
        *(
            "SOURCE",
            "--to",
            *POINT,
            "--dry-run",
            *PACE,
            *PART,
            "--copy",
            "--on-conflict",
            "--other-database",
            "--defrag",
            "--new-id",
        ),
        *(
            "--server",
            "--name",
            "--location",
            "--plain-http",
            KEY,
            "--new-key-file",
            "--in-clear",
            *OPENS,
            *KEYS,
            "--yes",
            "--json",
            "--quiet",
        ),
    ],
    "verify": ["SOURCE", *POINT, "--no-record", KEY, *OPENS, *PACE, *SERVER, "--json", "--quiet"],
    "rehearse": ["DEST", *POINT, "--place", "--query", "--script", KEY, *OPENS, *PACE, *SERVER, "--json", "--quiet"],
    "inspect": [
        *("DEST", "--id", "--content", "--diff", "--query", "--sql-view", *POINT, "--limit", KEY, *OPENS),
        *("--json", "--quiet"),
    ],
    "expire": ["DEST", *POLICY, "--grace", "--dry-run", "--yes", KEY, *OPENS, *SERVER, "--json", "--quiet"],
    "copy": ["SOURCE", "DEST", "--repair", *PACE, *SERVER, "--json", "--quiet"],
    "merge": ["DEST", "--through", "--delete-merged", KEY, *OPENS, *SEALS, *PACE, *SERVER, "--json", "--quiet"],
    "status": ["FOLDER|URL", "--url", "--database", *LIMITS, KEY, *KEYS, "--json"],
    "limit": ["OPERATION", "--url", *PACE, *KEYS, "--json"],
    "freeze": ["URL", "--url", "--database", "--timeout", *KEYS, "--json"],
    "thaw": ["URL", "--url", "--database", "--freeze", *KEYS, "--json"],
    "statistics": ["FOLDER|URL", KEY, *KEYS, "--json"],
    "check": ["FOLDER", "--accept-loss", KEY, "--json", "--quiet"],
    "move": ["FOLDER", "TARGET", "--wait", KEY, "--json", "--quiet"],
    "compact": ["FOLDER|URL", "--database", KEY, *KEYS, "--json", "--quiet"],
    "create": ["FOLDER|URL", KEY, "--algorithm", *KEYS, "--json"],
    "get": ["FOLDER|URL", "ID", "--metadata", "--json", *POINT, KEY, *OPENS, *KEYS],
    "settings": ["FOLDER|URL", "[KEY=VALUE]", "--database", KEY, *KEYS, "--json"],
    "sample": ["FOLDER", "--documents", "--attachments", "--seed", KEY, "--json", "--quiet"],
    "recipients list": ["DEST", "--json"],
    "recipients add": ["DEST", "--recipient", "--new-passphrase-file", "--new-key-file", KEY, *OPENS, "--json"],
    "recipients remove": ["DEST", "NAME", KEY, *OPENS, "--json"],
    "identity generate": ["FILE", "--signing", "--json"],
    "encryption generate-key": ["FILE", "--json"],
    "encryption rotate": [
        *("FOLDER|URL", KEY, "--new-key-file", "--algorithm", "--in-clear", "--url", "--database", "--plain-http"),
        *(*KEYS, "--json", "--quiet"),
    ],
    "smuggler out": [
        *("FOLDER", "URL", "FILE", "--database", *POINT, "--format", "--compression", "--overwrite", "--incremental"),
        *CARRIED,
        *("--collection", "--id", "--id-prefix"),
        *("--for-ravendb", "--start-document-etag", KEY, *OPENS, "--json", "--quiet"),
    ],
    "smuggler in": [
        *(
            "FOLDER",
            "URL",
            "FILE",
            "--database",
            "--create",
            "--incremental",
            "--backup",
            "--until",
            "--id-field",
            "--collection",
        ),
        *CARRIED,
        *("--continuation-token", "--fail-on-unknown", "--keep-extensions", KEY, "--json", "--quiet"),
    ],
    "smuggler between": [
        *("SOURCE", "TARGET", "--database", "--database2", *POINT, "--create"),
        *("--collection", "--id", "--id-prefix"),
        *CARRIED,
        *("--start-document-etag", "--fail-on-unknown", *(f"{key}2" for key in KEYS), KEY, f"{KEY}2", *OPENS),
        *("--json", "--quiet"),
    ],
    "server": [
        *(
            "--data-dir",
            "--storage",
            "--data-root",
            "--backup-root",
            "--master-key-file",
            "--host",
            "--port",
            "--host-name",
            "--page-origin",
            "--anonymous-access",
            "--tls-certificate",
            "--tls-key",
            "--tls-client-ca",
            "--plain-http",
            "--oauth-api-key",
            "--config",
        ),
        *("--backup-recipient", "--backup-passphrase-file", "--backup-identity-file", "--backup-signing-key-file"),
        *("--backup-read-rate", "--backup-write-rate", "--backup-hours"),
        *("--alert-webhook", "--alert-webhook-secret-file", "--alert-apprise-file", "--ping-url"),
        *("--metrics-access", "--alert-if-older", "--alert-if-unverified", "--alert-if-unrehearsed"),
        *(
            "--backup-signer",
            "--rehearsal-script",
            "--hooks-file",
            "--backup-niceness",
            "--access-log",
            "--idle-seconds",
            "--stop-seconds",
            "--body-memory",
        ),
        *(
            "--body-seconds",
            "--batch-commands",
            "--uploads",
            "--transfers",
            "--open-databases",
            "--jobs",
        ),
        KEY,
        *OPENS,
        *KEYS,
        *("--json", "--quiet"),
    ],
    "help": ["TOPIC"],
    "doctor": ["FOLDER|URL", KEY, *KEYS, "--json"],
    "cron": ["FOLDER", "--dest", "--every", "--systemd"],
    "schedule list": ["--url", *KEYS, "--json"],
    "schedule add": ["NAME", "--dest", *TIMES, *POLICY, "--from-periodic-setup", "--url", *KEYS, "--json"],
    "schedule edit": ["NAME", "--dest", *TIMES, *POLICY, "--url", *KEYS, "--json"],
    "schedule remove": ["NAME", "--yes", "--url", *KEYS, "--json"],
    "schedule run": ["NAME", "--task", "--database", "--nowait", "--url", *KEYS, "--json"],
    "schedule pause": ["NAME", "--for", "--url", *KEYS, "--json"],
    "schedule resume": ["NAME", "--url", *KEYS, "--json"],
    "schedule history": ["NAME", "--database", "--limit", "--url", *KEYS, "--json"],
    "databases list": ["--url", *KEYS, "--json"],
    "databases create": [
        "NAME",
        "--url",
        "--location",
        "--setting",
        KEY,
        "--algorithm",
        "--plain-http",
        *KEYS,
        "--json",
    ],
    "databases delete": ["NAME", "--url", "--hard", "--yes", *KEYS, "--json"],
    "databases info": ["NAME", "--url", *KEYS, "--json"],
    "keys add": [
        "NAME",
        "--right",
        "--database",
        "--data-root",
        "--backup-root",
        "--new-password",
        "--new-password-file",
        "--old-clients",
        "--data-dir",
        "--url",
        *KEYS,
        "--json",
    ],
    "keys list": ["--data-dir", "--url", *KEYS, "--json"],
    "keys disable": ["NAME", "--yes", "--data-dir", "--url", *KEYS, "--json"],
    "keys enable": ["NAME", "--data-dir", "--url", *KEYS, "--json"],
    "keys rotate": ["NAME", "--new-password", "--new-password-file", "--data-dir", "--url", *KEYS, "--json"],
}


def exit_codes() -> set[int]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {0} | {kind.exit_code for kind in kinds if issubclass(kind, errors.MunimentError)}


def test_the_main_help_names_every_command_and_exit_code() -> None:
    said = muniment("--help").text
    for command in COMMANDS:
        assert f"│ {command.partition(' ')[0]} " in said
    listed = {int(code) for code in re.findall(r"\b\d+\b", said.partition("Exit codes:")[2])}
    assert listed == exit_codes() | {128 + number for number in (*SIGNALS, signal.SIGPIPE)}
    assert "--version" in said
    assert "MUNIMENT_DEBUG" in said


@some(16)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    said = muniment(*command.split(), "--help").text
    assert f"$ muniment {command} " in said
    assert not re.search(r"<\w+_of>", said)  # the function that reads an argument
    for option in COMMANDS[command]:
        assert re.search(rf"│ .*{re.escape(option)}(?!\w)", said)
    shown = set(re.findall(r"│[ *]+(--[a-z0-9-]+)", said)) - {"--help"}
    assert shown == {option for option in COMMANDS[command] if option.startswith("--")}


@some(2)
@pytest.mark.parametrize("command", ["", "check", "smuggler", "smuggler out", "databases", "databases list"])
def test_h_is_help(command: str) -> None:
    assert muniment(*command.split(), "-h").out == muniment(*command.split(), "--help").out != b""


def test_every_command_is_tested_here() -> None:
    main = typer.main.get_command(app)
    names = set(main.commands)  # type: ignore[attr-defined]
    assert names == {command.partition(" ")[0] for command in COMMANDS}


@pytest.mark.parametrize("columns", ["40", "200"])
def test_help_fits_the_terminal(columns: str) -> None:
    said = muniment("restore", "--help", env={"COLUMNS": columns}).text
    assert max(map(len, said.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    "command",
    [
        *("restore", "verify", "rehearse", "inspect", "backup", "status", "expire", "merge", "copy"),
        "smuggler out",
    ],
)
def test_a_line_is_completed_without_loading_what_the_command_does(command: str) -> None:
    """Which takes longer than all else, and whoever presses Tab waits for it."""
    heavy = "muniment.maintenance muniment.database muniment.client pyarrow http.client cryptography".split()
    code = f"import sys; from muniment.cli import main; main([]); sys.exit(str([*set(sys.modules) & set({heavy})]))"
    line = f"muniment {command} --"
    env = {"_MUNIMENT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run([sys.executable, "-c", code], env=environment(**env), capture_output=True, text=True)
    assert "--json" in done.stdout.split()
    assert done.stderr.strip() == "[]"


def test_completion() -> None:
    env = {"_MUNIMENT_COMPLETE": "complete_bash", "COMP_WORDS": "muniment res", "COMP_CWORD": "1"}
    assert muniment(env=env).text.split() == ["restore"]
    assert "_MUNIMENT_COMPLETE" not in os.environ


def test_what_is_said_of_a_command_without_loading_it_is_its_first_sentence() -> None:
    main = typer.main.get_command(app)
    commands = main.commands  # type: ignore[attr-defined]
    for name, (_, about) in ABOUT.items():
        assert (commands[name].help or "").split("\n\n")[0] == about


def test_help_loads_no_command() -> None:
    program = "import sys; from muniment.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = ended.stderr.split()
    assert "typer" in loaded
    for name in ("muniment.database", "muniment.cli.backup", "pyarrow", "httpx", "apsw"):
        assert name not in loaded


@pytest.mark.parametrize("group", ["encryption", "identity", "recipients", "keys"])
def test_the_help_of_a_group_shows_in_which_order_its_commands_are_used(group: str) -> None:
    said = muniment(group, "--help").text
    assert said.count("$ muniment ") == 3
    assert f"$ muniment {group} " in said
