"""The settings of a server: one table of names, defaults and descriptions, read from a file, the environment and flags.

What is given later in that order wins. The file is TOML with the names as they stand here; in the environment
`data-dir` is `MUNIMENT_DATA_DIR`, on the command line `--data-dir`. Several values are a list in the file, are
separated by commas in the environment, and on the command line are given one by one, under the name of one.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from muniment.duration import duration_of
from muniment.errors import InvalidInput, unreadable
from muniment.limits import NO_LIMITS, Limits

PREFIX: Final = "MUNIMENT_"
CONFIG: Final = "MUNIMENT_CONFIG"
METRICS: Final = ("nobody", "read", "backup", "admin", "everybody")
ANONYMOUS: Final = ("local", "none", "get", "all", "admin")

Value: TypeAlias = str | int | bool | Path | tuple[str, ...]
Texts: TypeAlias = tuple[Annotated[str, Meta(min_length=1)], ...]
Some: TypeAlias = Annotated[int, Meta(ge=1)]

_WORDS: Final = {"yes": "true", "no": "false"}
_PLAIN: Final = {"int": "a number", "str": "text", "bool": "true or false"}


class InvalidSetting(InvalidInput):
    """A setting that does not exist, or a value that it cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server can be told. Each field is a setting; its default and description are the documentation's too."""

    data_dir: Annotated[Path, "The folder that holds the system database and, below it, all others."] = Path("data")
    storage: Annotated[
        str,
        "The PostgreSQL database that new databases and the system database are in, a schema each, instead of the data"
        " folder: `postgresql://HOST/DATABASE`. Servers with the same one serve the same databases.",
    ] = ""
    data_roots: Annotated[
        Texts,
        "Folders besides the data folder, and PostgreSQL databases besides `storage`, that `Raven/DataDir` and a"
        " restore may put databases into.",
    ] = ()
    backup_roots: Annotated[
        Texts,
        "Folders besides the data folder, or prefixes of object stores (`s3://backups`), that backups are written to"
        " and restored from. A client of ours that runs on the same machine as the server's user may use any.",
    ] = ()
    master_key_file: Annotated[
        Path,
        "The key that wraps the keys of encrypted databases, outside the data folder and made when first needed; beside"
        " the data folder (`data.master-key`) if it is not given.",
    ] = Path()
    host: Annotated[str, "The address to listen on."] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)], "The port to listen on; 0 takes a free one and prints it."
    ] = 8080
    host_names: Annotated[
        Texts,
        "Names besides its address that the server is asked by (`db.example.org`): others are refused, because a page"
        " in a browser may have bound its own name to the server's address.",
    ] = ()
    page_origins: Annotated[
        Texts, "Sites whose pages may use the server from a browser (`https://app.example.org`)."
    ] = ()
    anonymous_access: Annotated[
        str,
        "What whoever reaches the server may do without a key: `none`, `get` (read), `all` (read and write), `admin`"
        " (everything), or `local`: everything, from this machine, until there is a key, and nothing from then on.",
    ] = "local"
    tls_certificate: Annotated[
        str,
        "A PEM file with the server's certificate and those that lead from it to its authority: the server speaks TLS,"
        " 1.2 or later. SIGHUP has it read again.",
    ] = ""
    tls_key: Annotated[str, "A PEM file with the certificate's private key, which is not encrypted."] = ""
    tls_client_ca: Annotated[
        str, "A PEM file with authorities: clients have to show a certificate of one of them, besides their key."
    ] = ""
    plain_http: Annotated[bool, "Listen beyond this machine without TLS, so that whoever is between reads all."] = False
    oauth_api_key: Annotated[
        bool,
        "Let RavenDB's old clients get tokens at `OAuth/API-Key`, which rests on SHA-1, and keep the secrets of keys"
        " that are made for them, wrapped by the master key. Leave it off if nobody needs it.",
    ] = False
    idle_seconds: Annotated[Annotated[int, Meta(ge=0)], "A database that nobody has used for so long is closed."] = 900
    stop_seconds: Annotated[
        Annotated[int, Meta(ge=0)], "How long a stop waits for the requests that are being answered."
    ] = 15
    body_memory: Annotated[
        Some, "How many MiB of requests are in memory at once; more get 503 with Retry-After. None can be larger."
    ] = 256
    body_seconds: Annotated[
        Some, "How long the body of a request may take to come, and a second more for each 16 KiB of it."
    ] = 30
    batch_commands: Annotated[Some, "How many commands a request to `bulk_docs` may have."] = 50_000
    uploads: Annotated[Some, "How many large attachments are received at once; more get 503 with Retry-After."] = 256
    transfers: Annotated[Some, "How many dumps go in and out at once; more get 503 with Retry-After."] = 32
    open_databases: Annotated[
        Some, "How many databases are open at once: the one that was unused for longest is closed for another."
    ] = 80
    jobs: Annotated[
        Some, "How many backups, restores and compactions run at once; others wait, in the order in which they came."
    ] = 4
    backup_niceness: Annotated[
        Annotated[int, Meta(ge=0, le=19)],
        "How far backups stand back for requests: 0 (not at all) to 19 (they take only what is left).",
    ] = 5
    backup_read_rate: Annotated[str, "How many bytes a second a backup reads of the database, such as `50MB`."] = ""
    backup_write_rate: Annotated[str, "How many bytes a second a backup writes or uploads, such as `10MB`."] = ""
    backup_hours: Annotated[str, "The hours in which backups go on, by the machine's clock: `22:00-06:00`."] = ""
    backup_recipients: Annotated[
        Texts, "Whom backups are encrypted for, if a request names nobody else: public keys (`muniment identity`)."
    ] = ()
    backup_passphrase_file: Annotated[
        str, "A file with a passphrase: backups are encrypted for it too, and opened with it when they are restored."
    ] = ""
    backup_identity_file: Annotated[str, "A file with an identity that opens backups when they are restored."] = ""
    backup_signing_key_file: Annotated[str, "A file with the key that backups are signed with."] = ""
    backup_signers: Annotated[
        Texts, "The public keys of which one must have signed a backup that is restored; none if anybody may."
    ] = ()
    metrics_access: Annotated[
        str,
        "Who may read `/metrics`: whoever has the right `read`, `backup` or `admin` for the whole server, `everybody`"
        " who reaches it, or `nobody`.",
    ] = "admin"
    alert_if_older: Annotated[str, "Alert when the last backup of a changed database is older, such as `25h`."] = ""
    alert_if_unverified: Annotated[str, "Alert when the backups were not verified for so long, such as `7d`."] = ""
    alert_if_unrehearsed: Annotated[str, "Alert when the backups were not rehearsed for so long, such as `30d`."] = ""
    rehearsal_script: Annotated[
        Texts,
        "A command, word by word, that looks at the database of each rehearsal: it gets the folder as its last"
        " argument, and has to end with 0.",
    ] = ()
    hooks_file: Annotated[
        str,
        "A TOML file with commands to run before and after backups, restores and rehearsals, which only the server's"
        " user or root may write.",
    ] = ""
    alert_webhooks: Annotated[
        Texts, "URLs that are sent, as JSON, what is wrong with backups, and when it is over: `https://HOST/PATH`."
    ] = ()
    alert_webhook_secret_file: Annotated[str, "A file with a secret that proves to webhooks who has sent it."] = ""
    alert_apprise_file: Annotated[
        str, "A file with a URL of apprise on each line, for mail and chat (`mailto://…`): the extra `alerts`."
    ] = ""
    ping_urls: Annotated[
        Texts,
        "URLs that are called when a backup starts (`/start` after the path), succeeds, or fails (`/fail`)."
        " `{database}` stands for its name; one with `{job}` is called for all jobs.",
    ] = ()
    access_log: Annotated[bool, "Write a line to stderr for every request."] = False

    def __post_init__(self) -> None:
        for row in table():
            _converted(row.name, row, getattr(self, _field(row.name)))
        object.__setattr__(self, "anonymous_access", self.anonymous_access.lower())  # RavenDB's have capitals
        if self.anonymous_access not in ANONYMOUS:
            raise InvalidSetting(
                f"anonymous-access cannot be {self.anonymous_access!r}", f"give one of {', '.join(ANONYMOUS)}"
            )
        if self.metrics_access not in METRICS:
            raise InvalidSetting(
                f"metrics-access cannot be {self.metrics_access!r}", f"give one of {', '.join(METRICS)}"
            )
        _ = self.backup_limits
        for name in ("alert_if_older", "alert_if_unverified", "alert_if_unrehearsed"):
            if text := getattr(self, name):
                duration_of(text, spelled(name))
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_certificate):
            raise InvalidSetting("TLS needs both tls-certificate and tls-key", "give the other one, too")
        if not (is_loopback(self.host) or self.tls_certificate or self.plain_http or self.anonymous_access == "admin"):
            raise InvalidSetting(
                f"{self.host} can be reached from other machines, and whoever is between would read all, keys too",
                "give --tls-certificate and --tls-key, listen on 127.0.0.1, or if your network keeps strangers out say"
                " --plain-http (keys are needed), or --anonymous-access=admin (whoever reaches it may do everything)",
            )

    @property
    def backup_limits(self) -> Limits:
        """How fast backups may be, and when; raises `InvalidInput`."""
        return NO_LIMITS.changed(self.backup_read_rate, self.backup_write_rate, hours=self.backup_hours)

    @property
    def anonymous(self) -> str:
        """What may be done without a key; `local` is nothing on an address that other machines reach."""
        beyond = self.anonymous_access == "local" and not is_loopback(self.host)
        return "none" if beyond else self.anonymous_access


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_confidential(url: str) -> bool:
    """Whether nobody between here and this server can read what is sent."""
    there = urlsplit(url)
    return there.scheme == "https" or is_loopback(there.hostname or "")


def spelled(name: str) -> str:
    """A setting's name as users write it: `data_dir` is `data-dir`."""
    return name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of settings."""

    name: str
    environment: str
    default: Value
    description: str
    type: Any


@cache
def table() -> tuple[Row, ...]:
    """All settings, for the documentation and for help."""
    types = get_type_hints(Settings, include_extras=True)
    return tuple(
        Row(
            spelled(each.name),
            PREFIX + each.name.upper(),
            cast(Value, each.default),
            types[each.name].__metadata__[-1],
            types[each.name],
        )
        for each in fields(Settings)
    )


def load_settings(
    flags: Mapping[str, Value | None] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """The settings from a file (`config`, or the one `MUNIMENT_CONFIG` names), the environment and flags.

    A flag that is None was not given. Raises `InvalidSetting`, and `NotFound` or `StorageFailure` when the file cannot
    be read.
    """
    environment = environment or {}
    named = environment.get(CONFIG)
    path = config or (Path(named) if named else None)
    found: dict[str, Value] = {} if path is None else _from_file(path)
    for row in table():
        if (text := environment.get(row.environment)) is not None:
            given = [part.strip() for part in text.split(",") if part.strip()] if _is_list(row) else text
            found[_field(row.name)] = _converted(row.environment, row, given, strict=False)
    for name, value in (flags or {}).items():
        if value is not None:
            found[_field(name)] = value
    return Settings(**found)  # type: ignore[arg-type]  # each was checked against its default's type


def _field(name: str) -> str:
    return name.replace("-", "_")


def _as_ours(name: str) -> str:
    """`Muniment/BackupRoots`, as RavenDB's settings are spelled, is `backup-roots`."""
    prefix, slash, rest = name.partition("/")
    ours = slash and (prefix == "Muniment" or name == "Raven/AnonymousAccess")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", rest).lower() if ours else name


def _from_file(path: Path) -> dict[str, Value]:
    try:
        with path.open("rb") as file:
            given = tomllib.load(file)
    except OSError as error:
        raise unreadable(path, error, "name the settings file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not TOML: {error}", 'write lines like: port = 8080, host = "::1"') from error
    rows = {row.name: row for row in table()}
    given = {_as_ours(name): value for name, value in given.items()}
    unknown = sorted(given.keys() - rows.keys())
    if unknown:
        raise InvalidSetting(f"{path} has no setting {unknown[0]!r}", f"the settings are: {', '.join(rows)}")
    return {_field(name): _converted(f"{name} in {path}", rows[name], value) for name, value in given.items()}


def _is_list(row: Row) -> bool:
    return isinstance(row.default, tuple)


def _converted(what: str, row: Row, value: Any, *, strict: bool = True) -> Value:
    """The value as the setting has it; of one text a list is made, and where not `strict` of a text a number."""
    given = value
    if isinstance(value, str):
        if _is_list(row):
            given = [value]
        elif isinstance(row.default, bool):
            given = _WORDS.get(value.lower(), value)
    try:
        return cast(Value, msgspec.convert(given, row.type, strict=strict, dec_hook=_path))
    except (msgspec.ValidationError, TypeError) as error:
        like = list(row.default) or ["a", "b"] if isinstance(row.default, tuple) else row.default
        wanted = re.sub("`(int|str|bool)`", lambda found: _PLAIN[found[1]], str(error).partition(" - at")[0])
        raise InvalidSetting(
            f"{what} cannot be {value!r}: {wanted[:1].lower()}{wanted[1:]}", f"give a value like {like!s}"
        ) from error


def _path(kind: type[Path], value: Any) -> Path:
    return kind(value)
