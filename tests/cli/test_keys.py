"""`muniment keys`, and with what every command shows a server who asks."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.security.keys import PREFIX, decode_key, split_key
from muniment.settings import is_confidential
from tests.cli.process import Ended, muniment, on_terminal
from tests.cli.serving import serving
from tests.client.test_credentials import certificate, tls_server_that
from tests.client.test_transport import say, server_that
from tests.sampled import some

KEY = "boss/s3cret-of-the-key"


def well(*arguments: str | Path, **options: Any) -> dict[str, Any]:
    ended = muniment(*arguments, "--json", **options)
    assert ended.code == 0, ended.err
    return ended.json


def failed(ended: Ended, code: int, *parts: str) -> None:
    assert ended.code == code, ended.err
    assert ended.err.startswith("error: ")
    for part in parts:
        assert part in ended.err


def test_keys_of_a_server_that_is_stopped(tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    failed(muniment("keys", "list", *at), 3, "there is no server's data in", "--data-dir")
    assert not (tmp_path / "data").exists()
    first = muniment("keys", "add", "Nightly", "--right", "backup", "--right=read", "--database=shop", *at, "--json")
    assert "note: from now on the server answers nobody without a key" in first.err
    assert "no key may make others yet" in first.err
    made = first.json
    name, secret = split_key(made.pop("api_key"))
    assert (name, made["name"], made["rights"], made["databases"]) == (
        "Nightly",
        "Nightly",
        ["read", "backup"],
        ["shop"],
    )
    with DocumentDatabase(tmp_path / "data" / "System", read_only=True) as system:
        document = system.get(PREFIX + "nightly")
        assert document is not None
        assert decode_key(document.body).has(secret)
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert well("keys", "list", *at) == {"keys": [made]}
    rotated = well("keys", "rotate", "nightly", *at)
    assert split_key(rotated["api_key"])[1] != secret
    assert well("keys", "disable", "nightly", *at)["enabled"] is False
    said = muniment("keys", "list", *at).text
    assert "read, backup for shop" in said
    assert "; disabled" in said
    assert secret not in said
    assert well("keys", "enable", "nightly", *at)["enabled"] is True

    roots = ("--backup-root", "/mnt/team", "--backup-root", "/mnt/more", "--data-root", "~/team")
    bound = well("keys", "add", "bound", "--right", "restore", *roots, *at)
    assert (bound["backup_roots"], bound["data_roots"]) == (["/mnt/team", "/mnt/more"], ["~/team"])
    assert well("keys", "list", *at)["keys"][0]["backup_roots"] == ["/mnt/team", "/mnt/more"]
    assert "; data below ~/team; backups below /mnt/team, /mnt/more" in muniment("keys", "list", *at).text
    failed(muniment("keys", "add", "odd", "--right", "backup", "--backup-root", "", *at), 2, "folder is empty")

    second = muniment("keys", "add", "boss", "--right", "admin", *at)
    assert "boss/" in second.text
    assert "all databases" in second.text
    assert second.err == ""
    failed(muniment("keys", "add", "boss", "--right", "read", *at), 4, "there is a key boss already")
    failed(muniment("keys", "add", "pilot", "--right", "fly", *at), 2, "no right 'fly'", "read, write, backup")
    failed(muniment("keys", "disable", "nobody", *at), 3, "there is no key nobody", "muniment keys list")
    failed(muniment("keys", "list"), 2, "--data-dir", "--url")
    failed(muniment("keys", "list", *at, "--url", "http://127.0.0.1:1"), 2, "--data-dir", "--url")
    failed(muniment("keys", "list", *at, "--api-key", KEY), 2, "--api-key is for the databases of a server")


def test_keys_of_a_server_that_runs(tmp_path: Path) -> None:
    boss = well("keys", "add", "boss", "--right", "admin", "--data-dir", tmp_path / "data")["api_key"]
    asks = {"env": {"MUNIMENT_API_KEY": boss}}
    with serving(tmp_path / "data") as (url, _):
        failed(muniment("keys", "list", "--data-dir", tmp_path / "data"), 7, "a server is using", "--url URL")
        made = well("keys", "add", "nightly", "--right", "backup", "--url", f"{url}/databases/elsewhere", **asks)
        assert [each["name"] for each in well("keys", "list", "--url", url, **asks)["keys"]] == ["boss", "nightly"]
        rotated = well("keys", "rotate", "nightly", "--url", url, **asks)
        assert rotated["api_key"] != made["api_key"]
        assert well("keys", "disable", "nightly", "--url", url, **asks)["enabled"] is False
    assert [each["enabled"] for each in well("keys", "list", "--data-dir", tmp_path / "data")["keys"]] == [True, False]


def test_the_last_key_that_may_change_keys_is_disabled_only_if_that_is_meant(tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    boss = well("keys", "add", "boss", "--right", "admin", *at)["api_key"]
    for name, more in (("other", ["admin", "--database", "*"]), ("local", ["admin", "--database", "shop"])):
        well("keys", "add", name, "--right", *more, *at)
    well("keys", "disable", "other", *at)
    asks = {"env": {"MUNIMENT_API_KEY": boss}}
    with serving(tmp_path / "data") as (url, _):
        on_server = ("--url", url)
        refused = muniment("keys", "disable", "Boss", *on_server, env={"MUNIMENT_API_KEY": boss})
        failed(refused, 2, "the last key that may change keys", "--yes", "--data-dir")
        assert well("keys", "disable", "local", *on_server, **asks)["enabled"] is False
        assert well("keys", "disable", "boss", "--yes", *on_server, **asks)["enabled"] is False
        failed(muniment("keys", "list", *on_server, env={"MUNIMENT_API_KEY": boss}), 11)
    assert well("keys", "enable", "other", *at)["enabled"] is True
    assert well("keys", "enable", "boss", *at)["enabled"] is True
    assert well("keys", "disable", "boss", *at)["enabled"] is False
    failed(muniment("keys", "disable", "other", *at), 2, "the last key that may change keys")


def test_what_a_key_may_not_and_what_it_is_for_that_is_not_there(tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    boss = {"MUNIMENT_API_KEY": well("keys", "add", "boss", "--right", "admin", *at)["api_key"]}
    added = muniment("keys", "add", "nightly", "--right", "backup", "--database", "shopp", *at, "--json")
    assert "there is no database shopp yet" in added.err
    with serving(tmp_path / "data") as (url, _):
        for command in (["list"], ["add", "x", "--right", "read"], ["disable", "boss"]):
            refused = muniment("keys", *command, "--url", url, env={"MUNIMENT_API_KEY": added.json["api_key"]})
            failed(refused, 11, "may not see or change the keys", "`admin` for all databases")
        well("databases", "create", "shop", "--url", url, env=boss)
        known = muniment("keys", "add", "x", "--right=read", "--database=SHOP", "--url", url, env=boss)
        assert (known.code, known.err) == (0, "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://db.example.org:8080", True),
        ("http://127.0.0.1:8080/databases/shop", True),
        ("http://[::1]:8080", True),
        ("http://localhost:8080", True),
        ("http://db.example.org:8080", False),
        ("http://127.0.0.1.example.org", False),
        ("http://192.0.2.1", False),
        ("db.example.org", False),
    ],
)
def test_where_nobody_between_can_read_a_secret(url: str, said: bool) -> None:
    assert is_confidential(url) is said


def test_keys_for_old_clients_are_made_by_a_server_that_runs_and_allows_it(tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    boss: dict[str, Any] = {"env": {"MUNIMENT_API_KEY": well("keys", "add", "boss", "--right=admin", *at)["api_key"]}}
    add = ("keys", "add", "legacy", "--right", "read", "--old-clients")
    failed(muniment(*add, *at), 2, "the server itself has to get it", "--url URL")
    with serving(tmp_path / "data") as (url, _):
        failed(muniment(*add, "--url", url, **boss), 2, "keeps no secrets for old clients", "oauth-api-key = true")
    with serving(tmp_path / "data", "--oauth-api-key") as (url, _):
        made = well(*add, "--url", url, **boss)
        assert made["old_clients"] is True
        listed = muniment("keys", "list", "--url", url, **boss)
        assert "; for old clients, too" in listed.text
        assert "wrapped" not in listed.text
        rotated = well("keys", "rotate", "legacy", "--url", url, **boss)
        assert rotated["old_clients"] is True
        assert rotated["api_key"] != made["api_key"]
        assert [each["old_clients"] for each in well("keys", "list", "--url", url, **boss)["keys"]] == [False, True]
    failed(muniment("keys", "rotate", "legacy", *at), 2, "the server itself has to get it")
    assert well("keys", "disable", "legacy", *at)["enabled"] is False


def test_users_with_passwords_of_a_server_that_is_stopped_and_of_one_that_runs(tmp_path: Path) -> None:
    (tmp_path / "first").write_text("correct horse battery\n")
    (tmp_path / "second").write_text("staple of another kind\n")
    (tmp_path / "short").write_text("hunter2")
    at: tuple[str | Path, ...] = ("--data-dir", tmp_path / "data")
    made = muniment(
        *("keys", "add", "OFFICE\\boss", "--right=admin", "--new-password-file", tmp_path / "first", *at, "--json")
    )
    assert made.json["name"] == "OFFICE\\boss"
    assert "api_key" not in made.json
    with serving(tmp_path / "data") as (url, _):
        boss = ("--url", url, "--username", "boss", "--domain", "OFFICE", "--password")
        add = ("keys", "add", "anna", "--right", "read", "--url", url)
        asked = on_terminal(
            *add,
            *boss[2:],
            "correct horse battery",
            *("--new-password", "-"),
            seen=lambda shown: "--new-password: " in shown,
            typed="a password of words\n",
            again=("--new-password again: ", "a password of words\n"),
        )
        assert asked.code == 0, asked.err
        assert b"Made anna, with the password that was given" in asked.out
        assert b"of words" not in asked.out + asked.err.encode()
        first, anna = (*boss, "correct horse battery"), ("--url", url, "--username", "anna", "--password")
        well("databases", "list", *anna, "a password of words")
        well("keys", "rotate", "anna", "--new-password-file", tmp_path / "second", *first)
        failed(muniment("databases", "list", *anna, "a password of words"), 11, "the key is wrong")
        well("databases", "list", *anna, "staple of another kind")

        new = ("keys", "rotate", "anna", *first)
        failed(muniment(*new, "--new-password", "s3cret of words"), 2, "does not belong on a command line")
        failed(muniment(*new, "--new-password", "-"), 2, "nobody is at a terminal")
        failed(muniment(*new, "--new-password-file", tmp_path / "short"), 2, "7 characters", "12 or more")
        failed(muniment(*new, "--new-password-file", tmp_path / "nowhere"), 3, "there is no file")
        both = muniment(*new, "--new-password", "-", "--new-password-file", tmp_path / "first")
        failed(both, 2, "give one of them")
        twice = on_terminal(
            *new,
            *("--new-password", "-"),
            seen=lambda shown: "--new-password: " in shown,
            typed="a password of words\n",
            again=("--new-password again: ", "a password of wards\n"),
        )
        assert twice.code == 2
        assert "not the same both times" in twice.err
        well("databases", "list", *anna, "staple of another kind")
    well("keys", "rotate", "anna", "--new-password-file", tmp_path / "first", *at)
    passwords = (b"correct horse", b"staple of", b"of words")
    files = [each for each in tmp_path.rglob("*") if each.is_file() and each.parent != tmp_path]
    files.append(tmp_path / "data.log")
    assert not any(each in file.read_bytes() for each in passwords for file in files)


def test_a_server_on_a_network_with_two_keys(tmp_path: Path) -> None:
    """The walk through docs/security.md: one key that may do everything, and one that may only back up."""
    cert, private = certificate(tmp_path / "tls")
    boss = well("keys", "add", "boss", "--right", "admin", "--data-dir", tmp_path / "data")["api_key"]
    tls = ("--tls-certificate", str(cert), "--tls-key", str(private))
    with serving(tmp_path / "data", "--host", "0.0.0.0", *tls) as (said, _):
        url = said.replace("0.0.0.0", "127.0.0.1")
        by_boss: dict[str, Any] = {"env": {"MUNIMENT_API_KEY": boss}}
        at = ("--url", url, "--ca-file", cert)
        failed(muniment("databases", "list", *at), 11, "needs a key", "MUNIMENT_API_KEY")
        well("databases", "create", "shop", *at, **by_boss)
        well("databases", "create", "other", *at, **by_boss)
        nightly = well("keys", "add", "nightly", "--right", "backup", "--database", "shop", *at, **by_boss)["api_key"]

        by_nightly: dict[str, Any] = {"env": {"MUNIMENT_API_KEY": nightly}}
        backup = ("backup", *at, "--dest", "Backups/shop")
        assert well(*backup, "--database", "shop", **by_nightly)["state"] == "completed"
        out = ("smuggler", "out", url, "x.ravendump", "--database", "shop", "--ca-file", cert)
        for line in (
            out,
            ("databases", "create", "third", *at),
            ("keys", "list", *at),
            ("keys", "add", "more", "--right", "admin", *at),
            (*backup, "--database", "other"),
        ):
            refused = muniment(*line, cwd=tmp_path, **by_nightly)
            asked = "this key may not see or change" if line[0] == "keys" else "the key 'nightly' may not"
            failed(refused, 11, asked, "`admin`" if line[0] == "keys" else "muniment keys add --help")

        well("keys", "disable", "nightly", *at, **by_boss)
        failed(muniment(*backup, "--database", "shop", **by_nightly), 11, "the key is wrong, or was disabled")
        log = tmp_path.joinpath("data.log").read_text()
        assert not any(split_key(each)[1] in log for each in (boss, nightly))


# Each asks a server once, and ends with what that answers.
COMMANDS = [
    "keys list --url URL",
    "databases list --url URL",
    "databases info shop --url URL",
    "databases create shop --url URL",
    "databases delete shop --url URL",
    "status URL --database shop",
    "settings URL --database shop",
    "backup --url URL --database shop --dest out",
    "backup --url URL --all-databases --dest out",
    "restore backups --server URL --name shop",
    "restore backups --server URL --name shop --dry-run",
    "restore backups --server URL --name shop --on-conflict skip",
    "server --restore-source backups --restore-database URL",
    "smuggler out URL new.ravendump --database shop",
    "smuggler in URL shop.ravendump --database shop",
    "smuggler between URL copy --create --database shop",
    "smuggler between shop URL --database2 shop",
]


@some(6)
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_shows_the_key(line: str, shop: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def refuse(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Authorization", ""))
        say(request, 401, b'{"Error": "who is that?", "Kind": "Unauthorized"}')

    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "shop.ravendump").write_bytes(b'{"Docs":[]}')
    (tmp_path / "shop").symlink_to(shop)
    with server_that(refuse) as url:
        words = line.replace("URL", url).split()
        for option, env in ((["--api-key-file", "key"], {}), ([], {"MUNIMENT_API_KEY": KEY})):
            ended = muniment(*words, *option, cwd=tmp_path, env=env)
            failed(ended, 11, "who is that?", "--api-key")
            assert KEY not in ended.err + ended.text
    assert set(seen) == {f"Bearer {KEY}"}


def authorization(*options: str, **more: Any) -> str:
    """What a command with these options sends, and ends well with."""
    seen: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Authorization", ""))
        say(request, 200, b"[]")

    with server_that(note) as url:
        ended = muniment("databases", "list", "--url", url, *options, **more)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    return seen[0]


def test_where_a_key_comes_from(tmp_path: Path) -> None:
    other = {"MUNIMENT_API_KEY": "other/key"}
    (tmp_path / "key").write_text(f"\n{KEY}\n")
    assert authorization() == ""
    assert authorization(env=other) == "Bearer other/key"
    assert authorization("--api-key", KEY, env=other) == f"Bearer {KEY}"
    assert authorization("--api-key-file", str(tmp_path / "key"), env=other) == f"Bearer {KEY}"
    assert authorization("--username=ann", "--password=x", "--domain=SHOP", env=other).startswith("Basic ")


@pytest.mark.parametrize(
    ("options", "code", "parts"),
    [
        (("--api-key", "s3cret"), 2, ["not a key", "NAME/SECRET"]),
        (("--api-key", KEY, "--api-key-file", "key"), 2, ["given twice", "--api-key-file"]),
        (("--api-key", KEY, "--username", "ann"), 2, ["both a key and a user's name"]),
        (("--password", "s3cret"), 2, ["--password goes with a user's name"]),
        (("--api-key-file", "nowhere"), 3, ["there is no file nowhere"]),
        (("--api-key", "-"), 2, ["nobody is at a terminal"]),
        (("--ca-file", "nowhere"), 3, ["there is no file nowhere"]),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_repeated(
    options: tuple[str, ...], code: int, parts: list[str], tmp_path: Path
) -> None:
    ended = muniment("databases", "list", "--url", "http://127.0.0.1:1", *options, cwd=tmp_path)
    failed(ended, code, *parts)
    assert "s3cret" not in ended.err


def test_a_key_is_asked_for_and_not_shown() -> None:
    seen: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Authorization", ""))
        say(request, 200, b"[]")

    with server_that(note) as url:
        ended = on_terminal(
            *("databases", "list", "--url", url, "--api-key", "-"),
            seen=lambda shown: "--api-key: " in shown,
            typed=f"{KEY}\n",
        )
    assert ended.code == 0, ended.err
    assert seen == [f"Bearer {KEY}"]
    assert "s3cret" not in ended.err


def test_a_second_server_does_not_see_the_key_of_the_first(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {"first": [], "second": []}

    def noting(name: str, status: int) -> Any:
        def note(request: BaseHTTPRequestHandler) -> None:
            seen[name].append(request.headers.get("Authorization", ""))
            say(request, status, b'{"Error": "who is that?"}')

        return note

    with server_that(noting("first", 401)) as one, server_that(noting("second", 401)) as two:
        line = ("smuggler", "between", one, two, "--database", "shop", "--database2", "copy")
        failed(muniment(*line, "--api-key", KEY), 11)
        failed(muniment(*line, env={"MUNIMENT_API_KEY": KEY}), 11)
        assert set(seen["second"]) == {""}
        failed(muniment(*line, env={"MUNIMENT_API_KEY": KEY, "MUNIMENT_API_KEY2": "two/key"}), 11)
        failed(muniment(*line, "--api-key2", "two/key"), 11)
        assert seen["second"][-2:] == ["Bearer two/key"] * 2
        assert KEY not in "".join(seen["second"])


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    cert, private = certificate(tmp_path / "tls")
    with tls_server_that(lambda request: say(request, 200, b"[]"), cert, private) as url:
        asks = ("databases", "list", "--url", url)
        failed(muniment(*asks), 9, "not trusted", "--ca-file FILE")
        assert well(*asks, "--ca-file", cert)["databases"] == []
        assert well(*asks, "--insecure")["databases"] == []
