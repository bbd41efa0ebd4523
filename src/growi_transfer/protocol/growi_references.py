"""Which fields of GROWI's documents name other documents, and what happens to them when ids change.

One table for the collections of GROWI 7.3 and 8.0. Source of the facts: the models of both versions (fields with a
`ref` or `refPath`, and those that GROWI fills with ids without saying so: `userId`, `replyTo`, `docName`) and their
indexes. What is not in the table is left as it is: unknown collections, unknown fields, values that are no ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

PATHS = "paths"
"""Stands in for a collection where a field names a page by its path."""


class Belongs(Enum):
    """What becomes of a document whose reference leads nowhere."""

    NO = "no"  # it stays; the reference is emptied, or leaves its array
    FOLLOWS = "follows"  # it does not come; but it goes along to whatever its target has become
    CONTENT = "content"  # it is a part of its target: it does not come either when the destination keeps its own one


@dataclass(frozen=True, slots=True)
class Fate:
    """What a reference to a document of the source becomes. `to` None: the document does not come. `kept`: `to` is
    the destination's own one, with all that belongs to it."""

    to: Any
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """One field (or field of the documents of an array) that holds an id, or an array of ids."""

    field: str
    target: str
    """A collection; empty where a field beside it names the model."""
    belongs: Belongs = Belongs.NO
    inner: str = ""
    """The field within each document of the array `field`."""
    model: str = ""
    """The field beside it that names the target's model."""
    as_text: bool = False
    """The id is written as 24 hex digits (or is a path)."""


MODELS: Mapping[str, str] = {
    "Page": "pages",
    "User": "users",
    "UserGroup": "usergroups",
    "ExternalUserGroup": "externalusergroups",
    "Comment": "comments",
    "Attachment": "attachments",
    "Revision": "revisions",
    "Tag": "tags",
    "Bookmark": "bookmarks",
}
"""Collections by the names that `targetModel` and `grantedGroups.type` have."""

_NO, _FOLLOWS, _CONTENT = Belongs


def _user(field: str, belongs: Belongs = _NO) -> Reference:
    return Reference(field, "users", belongs)


def _page(field: str, belongs: Belongs = _NO) -> Reference:
    return Reference(field, "pages", belongs)


_GROUPS = tuple(
    Reference(field, "", _NO, inner="item", model="type")
    for field in ("grantedGroups", "grantedGroupsForShareScope", "grantedGroupsForAccessScope")
)

REFERENCES: Mapping[str, tuple[Reference, ...]] = {
    "accesstokens": (_user("user", _CONTENT),),
    "activities": (_user("user"), Reference("target", "", _CONTENT, model="targetModel")),
    "aiassistants": (_user("owner"), Reference("vectorStore", "vectorstores"), *_GROUPS[1:]),
    "attachments": (_page("page", _CONTENT), _user("creator")),
    "bookmarkfolders": (
        _user("owner", _FOLLOWS),
        Reference("parent", "bookmarkfolders"),
        Reference("bookmarks", "bookmarks"),
    ),
    "bookmarks": (_page("page", _FOLLOWS), _user("user", _FOLLOWS)),
    "comments": (
        _page("page", _CONTENT),
        _user("creator"),
        Reference("revision", "revisions"),
        Reference("replyTo", "comments"),
    ),
    "contributions": (_user("user", _FOLLOWS),),
    "editorsettings": (_user("userId", _FOLLOWS),),
    "externalaccounts": (_user("user", _FOLLOWS),),
    "externalusergrouprelations": (
        Reference("relatedGroup", "externalusergroups", _FOLLOWS),
        _user("relatedUser", _FOLLOWS),
    ),
    "externalusergroups": (Reference("parent", "externalusergroups"),),
    "inappnotifications": (
        _user("user", _FOLLOWS),
        Reference("target", "", _CONTENT, model="targetModel"),
        Reference("activities", "activities"),
    ),
    "inappnotificationsettings": (_user("userId", _FOLLOWS),),
    "namedqueries": (_user("creator"),),
    "newsreadstatuses": (_user("userId", _FOLLOWS), Reference("newsItemId", "newsitems", _FOLLOWS)),
    "pageredirects": (Reference("toPath", PATHS, as_text=True),),
    "pages": (
        _page("parent"),
        Reference("revision", "revisions"),
        _user("grantedUsers"),
        _GROUPS[0],
        _user("creator"),
        _user("lastUpdateUser"),
        _user("liker"),
        _user("seenUsers"),
        _user("deleteUser"),
    ),
    "pagetagrelations": (_page("relatedPage", _CONTENT), Reference("relatedTag", "tags", _FOLLOWS)),
    "passwordresetorders": (_user("relatedUser", _CONTENT),),
    "revisions": (_page("pageId", _CONTENT), _user("author")),
    "sharelinks": (_page("relatedPage", _CONTENT),),
    "subscriptions": (_user("user", _FOLLOWS), Reference("target", "", _FOLLOWS, model="targetModel")),
    "threadrelations": (_user("userId", _FOLLOWS), Reference("aiAssistant", "aiassistants")),
    "updateposts": (_user("creator"),),
    "usergrouprelations": (Reference("relatedGroup", "usergroups", _FOLLOWS), _user("relatedUser", _FOLLOWS)),
    "usergroups": (Reference("parent", "usergroups"),),
    "users": (Reference("imageAttachment", "attachments"),),
    "useruisettings": (_user("user", _FOLLOWS),),
    "vectorstorefilerelations": (
        Reference("vectorStoreRelationId", "vectorstores", _FOLLOWS),
        _page("page", _CONTENT),
        Reference("attachment", "attachments", _FOLLOWS),
    ),
    "yjs-writings": (Reference("docName", "pages", _CONTENT, as_text=True),),
}

LINKS: Mapping[str, tuple[str, ...]] = {
    "revisions": ("body",),
    "comments": ("comment",),
    "users": ("imageUrlCached",),
}
"""Texts in which GROWI's own links stand: `/<page id>` and `/attachment/<attachment id>`."""

_LINK = re.compile(r"(?<![0-9A-Za-z_-])/(attachment/)?([0-9a-f]{24})(?![0-9A-Za-z])")

NATURAL_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "accesstokens": (("tokenHash",),),
    "activities": (("user", "target", "action", "createdAt"),),
    "attachments": (("fileName",),),
    "bookmarks": (("page", "user"),),
    "contributions": (("user", "date"),),
    "editorsettings": (("userId",),),
    "externalaccounts": (("providerType", "accountId"),),
    "externalusergrouprelations": (("relatedGroup", "relatedUser"),),
    "externalusergroups": (("externalId",), ("name", "provider")),
    "growiplugins": (("installedPath",),),
    "inappnotificationsettings": (("userId",),),
    "namedqueries": (("name",),),
    "newsitems": (("externalId",),),
    "newsreadstatuses": (("userId", "newsItemId"),),
    "pageredirects": (("fromPath",),),
    "pagetagrelations": (("relatedPage", "relatedTag"),),
    "passwordresetorders": (("token",),),
    "slackappintegrations": (("tokenGtoP",), ("tokenPtoG",)),
    "subscriptions": (("user", "target"),),
    "tags": (("name",),),
    "threadrelations": (("threadId",),),
    "usergrouprelations": (("relatedGroup", "relatedUser"),),
    "usergroups": (("name",),),
    "userregistrationorders": (("token",),),
    "useruisettings": (("user",),),
    "vectorstorefilerelations": (("vectorStoreRelationId", "page", "attachment"),),
    "vectorstores": (("vectorStoreId",),),
    "yjs-writings": (("docName",),),
}
"""What two documents of different wikis have in common when they are about the same thing. Users and pages have rules
of their own."""

Resolve = Callable[[str, Any, bool], Fate | None]
"""(collection, id, whether it is written as text) -> what it becomes; None: it stays."""


def targets_of(collection: str) -> frozenset[str]:
    """Every collection that documents of this one may refer to."""
    found = {reference.target for reference in REFERENCES.get(collection, ())}
    if "" in found:
        found = (found - {""}) | set(MODELS.values())
    return frozenset(found | ({"pages", "attachments"} if collection in LINKS else set()))


def references(collection: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Every id that a document refers to: collection, id, whether it is written as text."""
    for reference in REFERENCES.get(collection, ()):
        for holder, value in _holders(reference, document):
            target = reference.target or MODELS.get(_text(holder.get(reference.model)), "")
            for one in value if isinstance(value, list) else (value,):
                if target and one is not None and (not reference.as_text or isinstance(one, str)):
                    yield target, one, reference.as_text
    for field in LINKS.get(collection, ()):
        for match in _LINK.finditer(_text(document.get(field))):
            yield ("attachments" if match[1] else "pages"), match[2], True


def rewrite(collection: str, document: dict[str, Any], resolve: Resolve) -> dict[str, Any] | None:
    """The document with its references as they are at the destination: the very same object when nothing changes,
    None when it does not come because what it belongs to does not come."""
    changed = document
    for reference in REFERENCES.get(collection, ()):
        if reference.field not in document:
            continue
        old = document[reference.field]
        if reference.inner:
            new: Any = _inner(reference, old, resolve)
        else:
            new = _value(
                reference, reference.target or MODELS.get(_text(document.get(reference.model)), ""), old, resolve
            )
        if new is _GONE:
            if reference.belongs is not Belongs.NO:
                return None
            new = None
        if new is not old:
            changed = {**changed, reference.field: new}
    for field in LINKS.get(collection, ()):
        text = document.get(field)
        if isinstance(text, str):
            relinked = _LINK.sub(lambda match: _relinked(match, resolve), text)
            if relinked != text:
                changed = {**changed, field: relinked}
    return changed


_GONE = object()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _holders(reference: Reference, document: Mapping[str, Any]) -> Iterable[tuple[Mapping[str, Any], Any]]:
    value = document.get(reference.field)
    if not reference.inner:
        return ((document, value),)
    elements = value if isinstance(value, list) else ()
    return [(element, element.get(reference.inner)) for element in elements if isinstance(element, dict)]


def _value(reference: Reference, target: str, old: Any, resolve: Resolve) -> Any:
    """The new value, `old` itself if it stays, or _GONE."""
    if not target or old is None:
        return old
    if isinstance(old, list):
        fates = [None if one is None else resolve(target, one, reference.as_text) for one in old]
        if not any(fates):
            return old
        # By their texts: two people who have become one are named once.
        kept: dict[str, Any] = {}
        for one, fate in zip(old, fates, strict=True):
            if fate is None or fate.to is not None:
                new = one if fate is None else fate.to
                kept.setdefault(repr(new), new)
        return list(kept.values())
    if reference.as_text and not isinstance(old, str):
        return old
    fate = resolve(target, old, reference.as_text)
    if fate is None:
        return old
    if fate.to is None or (fate.kept and reference.belongs is Belongs.CONTENT):
        return _GONE
    return str(fate.to) if reference.as_text else fate.to


def _inner(reference: Reference, old: Any, resolve: Resolve) -> Any:
    if not isinstance(old, list):
        return old
    new: list[Any] = []
    changed = False
    for element in old:
        if not isinstance(element, dict) or reference.inner not in element:
            new.append(element)
            continue
        before = element[reference.inner]
        target = reference.target or MODELS.get(_text(element.get(reference.model)), "")
        after = _value(reference, target, before, resolve)
        if after is before:
            new.append(element)
            continue
        changed = True
        same = [one for one in new if isinstance(one, dict) and one.get(reference.inner) == after]
        if after is not _GONE and not same:
            new.append({**element, reference.inner: after})
    return new if changed else old


def _relinked(match: re.Match[str], resolve: Resolve) -> str:
    fate = resolve("attachments" if match[1] else "pages", match[2], True)
    return match[0] if fate is None or fate.to is None else f"/{match[1] or ''}{fate.to}"
