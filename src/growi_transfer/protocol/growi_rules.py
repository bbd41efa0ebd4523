"""What the destination keeps when the source's data replace its own: settings of the installation, and its admins.

Pure planning on plain documents. The plan is made after verification, against what is staged; whoever carries it out
journals each change, so that a rollback undoes it and a comparison knows what was rewritten on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

UPLOAD_SETTING_KEYS = (
    "app:fileUploadType",
    "env:useOnlyEnvVars:app:fileUploadType",
    "aws:referenceFileWithRelayMode",
    "aws:lifetimeSecForTemporaryUrl",
    "gcs:apiKeyJsonPath",
    "gcs:bucket",
    "gcs:uploadNamespace",
    "gcs:referenceFileWithRelayMode",
    "env:useOnlyEnvVars:gcs",
    "azure:storageAccountName",
    "azure:storageContainerName",
    "azure:referenceFileWithRelayMode",
    "env:useOnlyEnvVars:azure",
)
"""GROWI's list: what its pusher sends as `uploadConfigs`, and its receiver keeps."""

STORAGE_PREFIXES = ("aws:", "gcs:", "azure:", "gridfs:", "fileUpload:")
"""All other settings that say where and how files are kept. GROWI's list leaves out bucket, region and credentials of
S3 and the credentials of Azure, so that after a transfer the destination would read from the source's bucket."""
STORAGE_LIMIT_KEY = "app:fileUploadTotalLimit"
"""How much the destination's storage may hold; preflight has judged by it."""
ADDRESS_KEYS = ("app:siteUrl", "env:useOnlyEnvVars:app:siteUrl")
MAINTENANCE_KEY = "app:isMaintenanceMode"

ACTIVE = 2
"""`status` of a user who may log in."""
IDENTITY_FIELDS = ("_id", "username", "email", "slackMemberId", "password", "status", "admin")
"""What `plan_admin_rescue` looks at in an incoming user; enough for a projection."""
TOKEN_IDENTITY_FIELDS = ("_id", "tokenHash")


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One document of the staged `configs` collection that has to become another one.

    `set`: the document of this key gets this `value`, and is inserted if there is none. `remove`: it is deleted.
    """

    key: str
    action: Literal["set", "remove"]
    value: Any = field(default=None, repr=False)
    """What stands in the document's `value`: JSON text. May be a credential. None: the document has no `value`."""
    reason: Literal["storage", "address", "maintenance"] = "storage"


def is_storage_setting(key: str) -> bool:
    """Whether a setting says where or how files are kept."""
    return key in UPLOAD_SETTING_KEYS or key == STORAGE_LIMIT_KEY or key.startswith(STORAGE_PREFIXES)


def plan_settings(
    destination: Mapping[str, Any],
    incoming: Mapping[str, Any],
    *,
    destination_upload_type: str,
    source_upload_settings: Mapping[str, Any],
) -> list[SettingChange]:
    """What has to be changed in the incoming `configs`, in order of keys; nothing where both agree.

    `destination`, `incoming`: key -> `value` of each document (None where it has none). The destination's documents
    are kept as they are, those it has not are removed, so that its environment goes on to decide.
    `destination_upload_type`: the type in force there; when it is `none`, the destination has no storage of its own
    and takes the source's, by `source_upload_settings` (key -> value in force at the source; keys that are not in
    GROWI's list are not listened to).
    """
    changes: list[SettingChange] = []
    if destination_upload_type == "none":
        for key in UPLOAD_SETTING_KEYS:
            value = source_upload_settings.get(key)
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            if value is not None and incoming.get(key) != text:
                changes.append(SettingChange(key, "set", text, "storage"))
    else:
        storage = {key for key in (*destination, *incoming) if is_storage_setting(key)}
        changes.extend(_kept(storage, destination, incoming, "storage"))
    changes.extend(_kept(ADDRESS_KEYS, destination, incoming, "address"))
    if incoming.get(MAINTENANCE_KEY) != "true":
        changes.append(SettingChange(MAINTENANCE_KEY, "set", "true", "maintenance"))
    return sorted(changes, key=lambda change: change.key)


def end_maintenance() -> SettingChange:
    """What an admin's release of the maintenance mode changes."""
    return SettingChange(MAINTENANCE_KEY, "set", "false", "maintenance")


def _kept(
    keys: Iterable[str],
    destination: Mapping[str, Any],
    incoming: Mapping[str, Any],
    reason: Literal["storage", "address"],
) -> Iterator[SettingChange]:
    for key in keys:
        if key in destination:
            if key not in incoming or incoming[key] != destination[key]:
                yield SettingChange(key, "set", destination[key], reason)
        elif key in incoming:
            yield SettingChange(key, "remove", None, reason)


@dataclass(frozen=True, slots=True)
class RescuePlan:
    """Documents to insert into the staged `users` and `accesstokens`, and what may be told about it."""

    users: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """With password hashes."""
    access_tokens: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    report: Mapping[str, Any] = field(default_factory=dict)
    """GROWI's `rescue` shape, plus `accessTokens` (a number) for each admin and `unchanged`: user names of admins who
    come with the source's data just as they are. No secrets, no e-mail addresses."""


def is_loginable_admin(user: Mapping[str, Any]) -> bool:
    """Whether a user is an active admin with a password: one who can log in and manage the wiki.

    A destination's `loginableAdminCount` counts exactly these.
    """
    return (
        user.get("admin") is True
        and user.get("status") == ACTIVE
        and _is_text(user.get("password"))
        and _is_text(user.get("username"))
    )


def incoming_users_filter(destination_admins: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A MongoDB filter for the incoming users that can matter to `plan_admin_rescue`; for a wiki with many users."""
    admins = [admin for admin in destination_admins if is_loginable_admin(admin)]
    branches: list[dict[str, Any]] = []
    for name in ("_id", "username", "email", "slackMemberId"):
        values = [admin[name] for admin in admins if name == "_id" or _is_text(admin.get(name))]
        branches.append({name: {"$in": values}})
    # Every name that begins with `<name>-rescued`, as a range.
    branches.extend(
        {"username": {"$gte": f"{admin['username']}-rescued", "$lt": f"{admin['username']}-rescuee"}}
        for admin in admins
    )
    return {"$or": branches}


def plan_admin_rescue(
    destination_admins: Iterable[Mapping[str, Any]],
    destination_tokens: Iterable[Mapping[str, Any]],
    incoming_users: Iterable[Mapping[str, Any]],
    incoming_tokens: Iterable[Mapping[str, Any]] = (),
    *,
    new_id: Callable[[], Any],
) -> RescuePlan:
    """How the destination's admins who can log in outlive the replacement of `users`.

    Incoming users win. An admin keeps password, admin flag and id (a new one from `new_id` only if an incoming user
    has it); a user name that is taken gets `-rescued`, then `-rescued-2` and so on; an e-mail address or Slack member
    id that is taken is dropped, which is the only value that cannot collide. Access tokens follow their admin, except
    those that come with the source's data too. An admin who is among the incoming users with the same id, name and
    password, active and admin, needs no rescue. Inputs are left as they are.

    `destination_admins` and `destination_tokens` may be more than needed; `incoming_*` may be all, or only those which
    `incoming_users_filter` finds, with at least the fields IDENTITY_FIELDS and TOKEN_IDENTITY_FIELDS.
    """
    admins = [admin for admin in destination_admins if is_loginable_admin(admin)]
    tokens_by_user: dict[str, list[Mapping[str, Any]]] = {}
    for token in destination_tokens:
        tokens_by_user.setdefault(_identity(token.get("user")), []).append(token)
    here = _Taken.of(incoming_users, {_identity(admin["_id"]) for admin in admins})
    token_ids, token_hashes = set(), set()
    for token in incoming_tokens:
        token_ids.add(_identity(token.get("_id")))
        token_hashes.add(_identity(token.get("tokenHash")))
    own_names = {admin["username"] for admin in admins}

    users: list[dict[str, Any]] = []
    access_tokens: list[dict[str, Any]] = []
    rescued: list[dict[str, Any]] = []
    unchanged: list[str] = []
    for admin in admins:
        if here.has_same(admin):
            unchanged.append(admin["username"])
            continue
        user = dict(admin)
        if reassigned := _identity(admin["_id"]) in here.ids:
            user["_id"] = _fresh(new_id, here.ids)
        if admin["username"] in here.usernames:
            user["username"] = _free_name(admin["username"], here.usernames | own_names)
        dropped = {name: _drop_if_taken(user, name, taken) for name, taken in here.optional.items()}
        here.add(user)
        users.append(user)
        kept = 0
        for token in tokens_by_user.get(_identity(admin["_id"]), ()):
            if _identity(token.get("tokenHash")) in token_hashes:
                continue
            moved = {**token, "user": user["_id"]}
            if _identity(token.get("_id")) in token_ids:
                moved["_id"] = _fresh(new_id, token_ids)
            token_ids.add(_identity(moved.get("_id")))
            token_hashes.add(_identity(token.get("tokenHash")))
            access_tokens.append(moved)
            kept += 1
        rescued.append(
            {
                "originalUsername": admin["username"],
                "rescuedUsername": user["username"],
                "emailRemoved": dropped["email"],
                "slackMemberIdRemoved": dropped["slackMemberId"],
                "idReassigned": reassigned,
                "accessTokens": kept,
            }
        )
    return RescuePlan(tuple(users), tuple(access_tokens), {"rescued": rescued, "unchanged": unchanged})


@dataclass(slots=True)
class _Taken:
    """Values of unique fields that incoming users, and admins rescued before, already have."""

    ids: set[str] = field(default_factory=set)
    usernames: set[str] = field(default_factory=set)
    optional: dict[str, set[str]] = field(default_factory=lambda: {"email": set(), "slackMemberId": set()})
    admins: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, users: Iterable[Mapping[str, Any]], admin_ids: set[str]) -> _Taken:
        taken = cls()
        for user in users:
            taken.add(user)
            if _identity(user.get("_id")) in admin_ids and is_loginable_admin(user):
                taken.admins.add(_person(user))
        return taken

    def add(self, user: Mapping[str, Any]) -> None:
        self.ids.add(_identity(user.get("_id")))
        if _is_text(user.get("username")):
            self.usernames.add(user["username"])
        for name, values in self.optional.items():
            if _is_text(user.get(name)):
                values.add(user[name])

    def has_same(self, admin: Mapping[str, Any]) -> bool:
        return _person(admin) in self.admins


def _person(user: Mapping[str, Any]) -> tuple[str, str, str]:
    return _identity(user["_id"]), user["username"], user["password"]


def _drop_if_taken(user: dict[str, Any], name: str, taken: set[str]) -> bool:
    """Remove an optional unique field that collides. Null and empty text count in a sparse unique index too, so they
    are removed as well, without being worth a word."""
    value = user.get(name)
    if not _is_text(value):
        user.pop(name, None)
        return False
    if value not in taken:
        return False
    del user[name]
    return True


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = f"{name}-rescued", 2
    while candidate in taken:
        candidate, number = f"{name}-rescued-{number}", number + 1
    return candidate


def _fresh(new_id: Callable[[], Any], taken: set[str]) -> Any:
    while _identity(fresh := new_id()) in taken:
        pass
    return fresh


def _identity(value: Any) -> str:
    """Any BSON value as something that can be in a set; equal only for equal values of one type."""
    return f"{type(value).__name__}:{value!r}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
