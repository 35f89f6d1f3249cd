"""Settings: a file, the environment, flags, in that order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest

from muniment.errors import NotFound, StorageFailure
from muniment.settings import InvalidSetting, Settings, load_settings, table


def test_defaults() -> None:
    assert load_settings() == Settings()
    assert (Settings().host, Settings().port) == ("127.0.0.1", 8080)


def test_what_comes_later_counts(tmp_path: Path) -> None:
    file = tmp_path / "muniment.toml"
    file.write_text('port = 1\nhost = "::1"\nidle-seconds = 5\ndata-dir = "here"\naccess-log = true\n')
    environment = {
        "MUNIMENT_PORT": "2",
        "MUNIMENT_IDLE_SECONDS": "6",
        "MUNIMENT_DEBUG": "1",
        "MUNIMENT_ACCESS_LOG": "no",
    }
    found = load_settings({"port": 3, "host": None}, environment=environment, config=file)
    assert found == Settings(port=3, host="::1", idle_seconds=6, data_dir=Path("here"), access_log=False)
    assert load_settings(environment={"MUNIMENT_CONFIG": str(file)}).port == 1


@pytest.mark.parametrize(
    "text",
    ["port = ", "port = 'x'", "port = true", "colour = 1", "idle-seconds = -1", "data_dir = 'x'", "[a]\nb = 1", "\xff"],
)
def test_files_that_make_no_sense(tmp_path: Path, text: str) -> None:
    file = tmp_path / "muniment.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSetting) as error:
        load_settings(config=file)
    assert error.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_settings(config=tmp_path / "none.toml")
    with pytest.raises(StorageFailure):
        load_settings(config=tmp_path)


@pytest.mark.parametrize(
    "value", [{"MUNIMENT_PORT": "x"}, {"MUNIMENT_PORT": "70000"}, {"MUNIMENT_ACCESS_LOG": "perhaps"}]
)
def test_environments_that_make_no_sense(value: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting):
        load_settings(environment=value)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "127.1.2.3"}, True),
        ({"host": "::1"}, True),
        ({"host": "LocalHost"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": "192.168.1.7"}, False),
        ({"host": "example.org"}, False),
        ({"host": ""}, False),
        ({"host": "0.0.0.0", "anonymous_access": "admin"}, True),
        ({"anonymous_access": "All"}, True),
        ({"anonymous_access": "some"}, False),
        ({"host": "0.0.0.0", "anonymous_access": "all"}, False),
        ({"backup_niceness": 20}, False),
    ],
)
def test_strangers_are_let_in_by_name_only(settings: dict[str, Any], allowed: bool) -> None:
    if allowed:
        Settings(**settings)
        return
    with pytest.raises(InvalidSetting):
        Settings(**settings)


def test_several_values(tmp_path: Path) -> None:
    file = tmp_path / "muniment.toml"
    file.write_text('"Muniment/BackupRoots" = ["/a", "/b"]\ndata-roots = "/c"\n"Raven/AnonymousAccess" = "None"\n')
    found = load_settings({"host_names": ("x",)}, environment={"MUNIMENT_PAGE_ORIGINS": "https://a, b,"}, config=file)
    assert (found.backup_roots, found.anonymous_access) == (("/a", "/b"), "none")
    assert (found.data_roots, found.host_names, found.page_origins) == (("/c",), ("x",), ("https://a", "b"))
    for text in ("backup-roots = 1", "backup-roots = [1]", 'backup-roots = [""]', '"Other/BackupRoots" = []'):
        file.write_text(text)
        with pytest.raises(InvalidSetting):
            load_settings(config=file)


def test_the_table_describes_every_setting() -> None:
    rows = {row.name: row for row in table()}
    assert rows["data-dir"].environment == "MUNIMENT_DATA_DIR"
    assert rows["port"].default == 8080
    assert all(row.description.endswith(".") for row in rows.values())


def test_every_setting_is_a_flag_of_the_server(tmp_path: Path) -> None:
    from muniment.cli import server

    options = {
        name
        for hint in get_type_hints(server.SettingOptions, include_extras=True).values()
        for option in hint.__metadata__
        for name in (option.default, *option.param_decls)
    }
    for row in table():
        flag = f"--{row.name.removesuffix('s') if isinstance(row.default, tuple) else row.name}"
        assert flag in options
    given = server.SettingOptions(backup_recipient=["a", "b"], jobs=3, access_log=True, idle_seconds=0)
    found = given.load()
    assert (found.backup_recipients, found.jobs, found.access_log, found.idle_seconds) == (("a", "b"), 3, True, 0)
