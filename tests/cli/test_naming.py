"""One way to name a database everywhere, and what the environment and a file say for all commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentStore
from muniment.cli.profile import Profile
from tests.cli.process import environment, muniment
from tests.cli.serving import serving
from tests.cli.test_commands import well
from tests.sampled import some


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("naming") / "data") as (url, _):
        with DocumentStore(url, "shop") as store:
            store.admin.create_database("shop")
            store.put("orders/1", b'{"n": 1.10}')
        yield url


def test_every_command_takes_the_url_of_a_database(url: str, tmp_path: Path) -> None:
    shop = f"{url}/databases/shop"
    assert well("get", shop, "ORDERS/1").out == b'{"n": 1.10}'
    assert well("get", shop, "orders/1", "--json").json["id"] == "orders/1"
    assert well("statistics", shop, "--json").json["documents"] == 1
    assert well("create", f"{url}/databases/made", "--json").json["name"] == "made"
    assert well("settings", shop).text.startswith(f"Settings of shop on {url}\n")
    dest = tmp_path / "b"
    assert well("backup", shop, "--dest", dest, "--json", "--quiet").json["database"] == "shop"
    assert well("status", shop, "--json").json["destinations"][0]["destination"] == str(dest)
    well("freeze", shop)
    well("thaw", shop)
    restored = muniment("restore", dest, "--to", f"{url}/databases/again", "--quiet")
    assert restored.code == 0
    assert well("get", f"{url}/databases/again", "orders/1").out == b'{"n": 1.10}'
    into = ("restore", str(dest), "--to", shop, "--id", "orders/1", "--on-conflict=skip", "--quiet")
    assert muniment(*into).code == 0
    assert muniment("compact", shop, "--quiet").code == 0


@some(5)
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("get URL/databases/none orders/1", 3, "none"),
        ("get URL/databases/shop orders/2", 3, "no document 'orders/2'"),
        ("get URL/databases/shop orders/1 --at 14:03", 2, "a moment is one of backups"),
        ("get nowhere orders/1 --api-key a/b", 2, "--api-key is for the databases of a server"),
        ("statistics URL/databases/shop --key-file x", 2, "no secret is sent to a server"),
        ("create URL", 2, "names no database"),
        ("create URL/databases/shop", 4, "shop"),
        ("backup URL/databases/shop --url URL --dest b", 2, "each say which database is meant"),
        ("backup --dest b", 2, "no database to back up was named"),
        ("freeze folder", 2, "only a server can freeze"),
        ("restore b --to URL/databases/x --name y", 2, "--to names a server"),
        ("check URL/databases/shop", 2, "is the address of a server"),
        ("status", 2, "no database was named"),
    ],
)
def test_what_is_not_understood(url: str, line: str, code: int, said: str) -> None:
    ended = muniment(*line.replace("URL", url).split())
    assert (ended.code, said in ended.err) == (code, True), ended.err


def test_the_environment_names_a_server_where_nothing_else_does(url: str, tmp_path: Path) -> None:
    env = {"MUNIMENT_URL": f"{url}/databases/shop"}
    assert muniment("databases", "list", "--json", env=env).json["databases"][-1] == "shop"
    assert muniment("status", "--json", env=env).json["name"] == "shop"
    assert muniment("backup", "--dest", tmp_path / "b", "--json", "--quiet", env=env).json["database"] == "shop"
    assert muniment("keys", "list", env=env).code == 0
    assert muniment("schedule", "list", env=env).code == 0
    other = {"MUNIMENT_URL": "http://127.0.0.1:9"}
    assert muniment("databases", "list", env=other).code == 9
    assert muniment("databases", "list", "--url", url, env=other).code == 0
    well("create", tmp_path / "folder")
    assert muniment("status", tmp_path / "folder", env=other).code == 0  # what is named wins


def configured(folder: Path, text: str) -> dict[str, str]:
    (folder / "muniment").mkdir(parents=True, exist_ok=True)
    (folder / "muniment" / "client.toml").write_text(text)
    return {"XDG_CONFIG_HOME": str(folder)}


def test_a_file_names_servers_and_their_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = muniment("keys", "add", "boss", "--right", "admin", "--data-dir", data, "--json").json["api_key"]
    (tmp_path / "boss.key").write_text(made)
    with serving(data) as (url, _):
        assert muniment("databases", "list", "--url", url).code == 11
        key = f'url = "{url}"\napi-key-file = "{tmp_path / "boss.key"}"\n'
        env = configured(tmp_path / "one", key)
        assert muniment("databases", "list", env=env).code == 0
        assert muniment("databases", "list", "--url", f"{url}/", env=env).code == 0
        assert muniment("databases", "list", "--url", url.replace("127.0.0.1", "localhost"), env=env).code == 11
        env = configured(
            tmp_path / "two", f'profile = "b"\n[profiles.a]\n{key}[profiles.b]\nurl = "http://127.0.0.1:9"\n'
        )
        assert muniment("databases", "list", env=env).code == 9
        assert muniment("databases", "list", "--profile", "a", env=env).code == 0
        assert muniment("--profile=a", "databases", "list", env=env).code == 0
        assert muniment("databases", "list", env={**env, "MUNIMENT_PROFILE": "a"}).code == 0
        assert muniment("databases", "list", env={**env, "MUNIMENT_URL": url, "MUNIMENT_API_KEY": made}).code == 0
        unknown = muniment("databases", "list", "--profile", "c", env=env)
        assert (unknown.code, "no profile 'c'" in unknown.err, "a, b" in unknown.err) == (2, True, True)


@some(2)
@pytest.mark.parametrize("text", ["url = 1", "uri = 'x'", "url =", "[profiles.a]\nkey = 'x'"])
def test_a_file_that_is_wrong_is_refused_where_it_is_used(tmp_path: Path, text: str) -> None:
    env = configured(tmp_path / "config", text)
    refused = muniment("databases", "list", env=env)
    assert (refused.code, "client.toml cannot be understood" in refused.err) == (2, True)
    well("create", tmp_path / "shop")
    assert muniment("statistics", tmp_path / "shop", env=env).code == 0
    assert muniment("databases", "list", env={"MUNIMENT_CLIENT_CONFIG": str(tmp_path / "none")}).code == 3


def test_a_user_without_a_home(tmp_path: Path) -> None:
    assert muniment("databases", "list", "--url", "http://127.0.0.1:9", env={"HOME": ""}).code == 9
    assert muniment("databases", "list", "--url", "http://127.0.0.1:9", env={"HOME": "/nowhere"}).code == 9


def test_the_page_names_every_member_of_the_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    for name in (*(each.replace("_", "-") for each in Profile.__struct_fields__), "profile"):
        assert f"`{name}`" in page


@some(2)
@pytest.mark.parametrize("said", ["--url:URL", "-url=URL", "--url=URL", "-url:URL"])
def test_options_as_ravendb_s_tools_took_them(url: str, said: str, tmp_path: Path) -> None:
    ended = muniment("backup", said.replace("URL", url), "-database:shop", f"--dest:{tmp_path / 'b'}", "-quiet")
    assert ended.code == 2  # a word alone is no option with a value
    ended = muniment("backup", said.replace("URL", url), "-database:shop", f"--dest:{tmp_path / 'b'}", "--quiet")
    assert (ended.code, len(list((tmp_path / "b").iterdir()))) == (0, 1)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_debug_stands_anywhere(where: int, tmp_path: Path) -> None:
    line = ["check", str(tmp_path / "none")]
    ended = muniment(*line[:where], "--debug", *line[where:])
    assert (ended.code, "Traceback" in ended.err) == (3, True)
    assert "Traceback" not in muniment(*line).err
    assert "Traceback" not in muniment("check", "--", "--debug").err


def test_a_pipe_that_closes_and_streams_that_cannot_spell(tmp_path: Path) -> None:
    well("sample", tmp_path / "Läden", "--documents", "100", "--quiet")
    program = [sys.executable, "-m", "muniment", "statistics", str(tmp_path / "Läden")]
    process = subprocess.Popen(program, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (0, b"")
    process.stderr.close()
    env = environment(PYTHONIOENCODING="ascii", LC_ALL="C", NO_COLOR="1")
    said = subprocess.run(program, env=env, capture_output=True, check=True)
    assert (rb"L\xe4den" in said.stdout, b"\x1b" in said.stdout, said.stderr) == (True, False, b"")


def test_help_is_complete_at_60_columns() -> None:
    for line in muniment("backup", "--help", env={"COLUMNS": "60"}).text.splitlines():
        assert len(line) <= 60


def completed(line: str, **env: str) -> list[str]:
    words = {"_MUNIMENT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return muniment(env={**words, **env}).text.split()


def test_names_are_completed(url: str, tmp_path: Path) -> None:
    well("create", tmp_path / "shop")
    well("backup", tmp_path / "shop", "--dest", tmp_path / "b")
    [name] = (each.name for each in (tmp_path / "b").iterdir())
    assert completed(f"muniment restore {tmp_path / 'b'} --backup ") == [name]
    assert completed(f"muniment verify {tmp_path / 'b'} --backup 1") == []
    assert completed("muniment restore b --on-conflict s") == ["skip"]
    assert "shop" in completed(f"muniment status {url} --database ")
    assert completed("muniment databases info sho", MUNIMENT_URL=url) == ["shop"]
    assert completed("muniment databases info x", MUNIMENT_URL="http://127.0.0.1:9") == []
    assert completed("muniment restore nowhere --backup ") == []


def test_completing_loads_only_what_the_line_names() -> None:
    program = (
        "import sys, os; os.environ.update(_MUNIMENT_COMPLETE='complete_bash', COMP_CWORD='1');"
        "os.environ.update(COMP_WORDS='muniment d');"
        "from muniment.cli import main; main([]); print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["doctor", "databases"]
    assert not {"httpx", "pyarrow", "apsw"} & set(ended.stderr.split())


def test_who_has_a_database_open_is_said(tmp_path: Path) -> None:
    well("create", tmp_path / "shop")
    program = (
        f"import muniment, sys; muniment.DocumentDatabase({str(tmp_path / 'shop')!r}); print('open', flush=True);"
        " sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline()
    refused = muniment("settings", tmp_path / "shop", "Muniment/History=true")
    process.stdin.close()
    process.stdout.close()
    process.wait(60)
    assert (refused.code, f"process {process.pid} has the database" in refused.err) == (7, True), refused.err
