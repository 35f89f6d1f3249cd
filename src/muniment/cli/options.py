"""The options of `muniment smuggler`, in the words of RavenDB's Smuggler: said once, for all of its commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from muniment.cli.output import path_of
from muniment.errors import InvalidInput
from muniment.smuggler.options import SmugglerOptions

_NO_KEYS: Final = "Refused unless empty: the server has no authentication yet."
_PAIR: Final = "PATH=VALUE"

Texts: TypeAlias = list[str]


def smuggler_options(
    operate_on_types: Annotated[
        str | None,
        typer.Option("--operate-on-types", metavar="NAMES", help="Which of Documents,Attachments,Identities."),
    ] = None,
    filter: Annotated[
        Texts,
        typer.Option("--filter", metavar=_PAIR, help="Only documents with this value; may be repeated."),
    ] = [],  # noqa: B006 - typer never changes it
    negative_filter: Annotated[
        Texts, typer.Option("--negative-filter", metavar=_PAIR, help="Only documents without this value.")
    ] = [],  # noqa: B006
    metadata_filter: Annotated[
        Texts, typer.Option("--metadata-filter", metavar=_PAIR, help="Only with this value in the metadata.")
    ] = [],  # noqa: B006
    negative_metadata_filter: Annotated[
        Texts, typer.Option("--negative-metadata-filter", metavar=_PAIR, help="Only without it in the metadata.")
    ] = [],  # noqa: B006
    transform: Annotated[
        str | None,
        typer.Option("--transform", metavar="SCRIPT", help="JavaScript: function(doc) { return doc; }"),
    ] = None,
    transform_file: Annotated[
        Path | None, typer.Option("--transform-file", parser=path_of, metavar="FILE", help="The same, from a file.")
    ] = None,
    excludeexpired: Annotated[
        bool, typer.Option("--excludeexpired", metavar="", help="Leave out documents that have expired.")
    ] = False,
    ignore_errors_and_continue: Annotated[
        bool,
        typer.Option("--ignore-errors-and-continue", metavar="", help="Pass over what has errors, and name it."),
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="NUMBER", help="At most so many documents.")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="NUMBER", help="How many documents are written at once.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option("--timeout", metavar="MS", min=1, help="How long all of it may take; no limit.")
    ] = None,
    start_document_etag: Annotated[
        str | None,
        typer.Option("--start-document-etag", metavar="ETAG", help="Only documents that changed after this etag."),
    ] = None,
    continuation_token: Annotated[
        str | None,
        typer.Option("--continuation-token", metavar="TOKEN", help="Go on where the import that named it stopped."),
    ] = None,
    fail_on_unknown: Annotated[
        bool,
        typer.Option("--fail-on-unknown", metavar="", help="A section that there is no place for is an error."),
    ] = False,
    username: Annotated[str, typer.Option("--username", metavar="NAME", help=_NO_KEYS)] = "",
    password: Annotated[str, typer.Option("--password", metavar="TEXT", help=_NO_KEYS)] = "",
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help=_NO_KEYS)] = "",
    api_key: Annotated[str, typer.Option("--api-key", metavar="KEY", help=_NO_KEYS)] = "",
    username2: Annotated[str, typer.Option("--username2", metavar="NAME", help=_NO_KEYS)] = "",
    password2: Annotated[str, typer.Option("--password2", metavar="TEXT", help=_NO_KEYS)] = "",
    domain2: Annotated[str, typer.Option("--domain2", metavar="NAME", help=_NO_KEYS)] = "",
    api_key2: Annotated[str, typer.Option("--api-key2", metavar="KEY", help=_NO_KEYS)] = "",
) -> SmugglerOptions:
    """What these options say; raises `InvalidInput` for what makes no sense."""
    keys = {"username": username, "password": password, "domain": domain, "api-key": api_key}
    keys |= {"username2": username2, "password2": password2, "domain2": domain2, "api-key2": api_key2}
    for name in (name for name, value in keys.items() if value):
        raise InvalidInput(f"the server has no authentication yet, so it takes no --{name}", "leave it out")
    others: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    return SmugglerOptions.of(
        operate_on_types=operate_on_types,
        filter=filter,
        negative_filter=negative_filter,
        metadata_filter=metadata_filter,
        negative_metadata_filter=negative_metadata_filter,
        transform=transform,
        transform_file=transform_file,
        start_document_etag=start_document_etag,
        exclude_expired=excludeexpired,
        ignore_errors=ignore_errors_and_continue,
        limit=limit,
        timeout=None if timeout is None else timeout / 1000,
        continuation=continuation_token,
        fail_on_unknown=fail_on_unknown,
        **others,
    )


_ALL: Final = inspect.signature(smuggler_options, eval_str=True).parameters
OUT: Final = ("start_document_etag",)
IN: Final = ("continuation_token", "fail_on_unknown")
TWINS: Final = ("username2", "password2", "domain2", "api_key2")


def with_options(*own: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command all these options but those that only some have, and of these its own, as one `options`."""
    names = [name for name in _ALL if name in own or name not in {*OUT, *IN, *TWINS}]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        before = [each for each in signature.parameters.values() if each.name not in ("options", "json", "quiet")]
        last = [signature.parameters[name] for name in ("json", "quiet")]

        @wraps(command)
        def run(**given: Any) -> None:
            options = smuggler_options(**{name: given.pop(name) for name in names})
            command(options=options, **given)

        shown = [*before, *(_ALL[name] for name in names), *last]
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return run

    return decorate
