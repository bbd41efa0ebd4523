"""What people and scripts send to the routes of this server: JSON shapes, and how a route reads one.

The shapes between two instances are in `protocol.wire`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from growi_transfer.ledger.base import Role
from growi_transfer.protocol.errors import InvalidRequest, SiteUrlInvalid
from growi_transfer.protocol.names import check_transfer_id
from growi_transfer.protocol.page_paths import PATTERNS
from growi_transfer.protocol.wire import PREFIX, MergeRules, PagePattern, Shape, Text, parse
from growi_transfer.pusher.options import PushOptions
from growi_transfer.web.uploads import read_body

SMALL_JSON = 1 << 20
"""Bytes of the largest JSON body that no transfer depends on."""
_KEY_TEXT = 8192
_ROLES = {role.value: role for role in Role}
_REPLACE = "flushAndInsert"

Volumes = Annotated[int, Field(ge=1, le=32)]
Attachments = Annotated[int, Field(ge=1, le=64)]
Bandwidth = Annotated[int, Field(ge=1024, le=1 << 40)]
Code = Annotated[str, Field(pattern=r"^[a-z_]{1,60}$")]
KeyText = Annotated[str, Field(max_length=_KEY_TEXT)]
S = TypeVar("S", bound=Shape)


class Nothing(Shape):
    """The body of a request that needs none."""


class VerifyAgain(Shape):
    """The body of an admin's `verify`, at the source."""

    deep: bool = False


class GenerateKey(Shape):
    """GROWI's body. Its own page sends the address of the wiki it shows."""

    appSiteUrl: Annotated[str, Field(max_length=2000)] | None = None  # noqa: N815 - GROWI's name

    def check(self) -> None:
        """Raises SiteUrlInvalid. A right one changes nothing: a key always leads to the address of this server."""
        if self.appSiteUrl is None:
            return
        try:
            parts = urlsplit(self.appSiteUrl)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right:
            raise SiteUrlInvalid()


def _auto(value: Any) -> Any:
    return None if value == "auto" else value


class Parallelism(Shape):
    """Requests in flight. Null and `auto`: the number adapts to the line."""

    volumes: Annotated[Volumes | None, BeforeValidator(_auto)] = None
    attachments: Annotated[Attachments | None, BeforeValidator(_auto)] = None

    def change(self, name: Literal["volumes", "attachments"]) -> int | Literal["unchanged"] | None:
        """What a number becomes; one that is left out stays as it is."""
        if name not in self.model_fields_set:
            return "unchanged"
        return self.volumes if name == "volumes" else self.attachments


class Options(Shape):
    """Ours, beside GROWI's fields."""

    parallelism: Parallelism = Parallelism()
    bandwidth_bytes_per_second: Bandwidth | None = None
    deflate: bool | None = None
    exclude_collections: tuple[Text, ...] = ()
    exclude_paths: Annotated[tuple[PagePattern, ...], Field(max_length=PATTERNS)] = ()
    accept_warnings: tuple[Text, ...] = ()
    accept_all_warnings: bool = False
    merge: MergeRules | None = None
    """Merge into the destination's wiki instead of replacing it."""
    deep: bool = False
    commit: bool = True
    follow: bool = False
    freeze: bool = False
    attachments_first: bool = False
    patience_seconds: Annotated[float, Field(ge=0, le=86400)] = PushOptions().patience


class CollectionOptions(Shape):
    """GROWI's options of one collection, as its page sends them. A replaced collection arrives as it was, so the
    authors stay right whatever `isOverwriteAuthorWithCurrentUser` says; what would change documents is refused."""

    collectionName: Text = ""  # noqa: N815
    mode: Text = _REPLACE
    isOverwriteAuthorWithCurrentUser: bool = False  # noqa: N815
    makePublicForGrant2: bool = False  # noqa: N815
    makePublicForGrant4: bool = False  # noqa: N815
    makePublicForGrant5: bool = False  # noqa: N815
    initPageMetadatas: bool = False  # noqa: N815

    def check(self, name: str) -> None:
        if self.mode != _REPLACE:
            raise InvalidRequest(
                f"optionsMap.{name}.mode: this server replaces collections; only {_REPLACE} is possible.",
                field=f"optionsMap.{name}.mode",
            )
        for option in ("makePublicForGrant2", "makePublicForGrant4", "makePublicForGrant5", "initPageMetadatas"):
            if getattr(self, option):
                raise InvalidRequest(
                    f"optionsMap.{name}.{option}: documents are moved as they are.", field=f"optionsMap.{name}.{option}"
                )


class Push(Shape):
    """GROWI's body of `POST transfer` and `POST preflight`, and our options."""

    transferKey: KeyText  # noqa: N815
    collections: tuple[Text, ...] | None = None
    """Transfer these only; names that never move are passed over, as GROWI does."""
    optionsMap: dict[str, CollectionOptions] = Field(default_factory=dict)  # noqa: N815
    options: Options = Options()

    def push_options(self, transferable: Sequence[str]) -> PushOptions:
        """Raises InvalidRequest for options that this server cannot follow."""
        for name, chosen in self.optionsMap.items():
            chosen.check(name)
        excluded = set(self.options.exclude_collections)
        if self.collections is not None:
            excluded.update(set(transferable) - set(self.collections))
        return PushOptions(
            volumes=self.options.parallelism.volumes,
            attachments=self.options.parallelism.attachments,
            bandwidth=self.options.bandwidth_bytes_per_second,
            deflate=self.options.deflate,
            exclude_collections=tuple(sorted(excluded)),
            exclude_paths=self.options.exclude_paths,
            accept_warnings=self.options.accept_warnings,
            accept_all=self.options.accept_all_warnings,
            merge=None if self.options.merge is None else self.options.merge.model_dump(mode="json"),
            deep=self.options.deep,
            commit=self.options.commit,
            follow=self.options.follow,
            freeze=self.options.freeze,
            attachments_first=self.options.attachments_first,
            patience=self.options.patience_seconds,
        )


class Tune(Shape):
    """PATCH transfers/{id}. What is left out stays as it is; a bandwidth of null lifts the limit, a number of null
    lets it adapt."""

    parallelism: Parallelism = Parallelism()
    bandwidth_bytes_per_second: Bandwidth | None = None


class Resume(Shape):
    """A new key, when the one that the transfer was started with has ended, and what may stay behind."""

    transferKey: KeyText | None = None  # noqa: N815
    accept_warnings: Annotated[tuple[Code, ...], Field(max_length=100)] = ()
    """Codes of faults: files that failed by one of these stay behind."""


async def json_body(request: Request, shape: type[S], limit: int = SMALL_JSON) -> S:
    """The body as a shape; an empty body is an empty object. Raises what `parse` and `read_body` raise."""
    return parse(shape, await read_body(request, limit) or b"{}")


def transfer_id_of(request: Request) -> str:
    """Raises InvalidRequest."""
    return check_transfer_id(request.path_params["transfer_id"])


def role_of(request: Request) -> Role | None:
    """The role that a query asks for, if it does. Raises InvalidRequest."""
    text = request.query_params.get("role")
    if text is None:
        return None
    if text not in _ROLES:
        raise InvalidRequest("role must be pusher or receiver.", field="role")
    return _ROLES[text]


def whole_number(request: Request, name: str, usual: int, most: int, *, least: int = 1) -> int:
    """A number of a query, from `least` to `most`. Raises InvalidRequest."""
    text = request.query_params.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise InvalidRequest(f"{name} must be an integer from {least} to {most}.", field=name)
    return int(text)


def yes_or_no(request: Request, name: str) -> bool:
    """A choice of a query: `true` or `false`, which it is when nothing is said. Raises InvalidRequest."""
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false.", field=name)
    return text == "true"


def api(
    method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]], *, below: str = PREFIX, **options: Any
) -> Route:
    """A route below the prefix of GROWI's API, for exactly one method: the framework would add HEAD to each GET."""
    route = Route(below + path, endpoint, methods=[method], **options)
    route.methods = {method}
    return route
