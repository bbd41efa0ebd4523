"""Pages of the generated wiki, their revisions, and what people hang on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from growi_transfer.demo import records
from growi_transfer.demo.files import File
from growi_transfer.demo.pages import GROUP, ONLY_ME, Page
from growi_transfer.demo.records import Cast, Document


class Content:
    """Makes the documents that belong to a page tree. `revisions` must be read to its end before `pages`, which tell
    the last revision; every method gives its documents once."""

    def __init__(self, cast: Cast, pages: Sequence[Page], revisions: int, body_size: int) -> None:
        self._cast = cast
        self._pages = pages
        self._rounds = max(1, revisions)
        self._body_size = body_size
        self._ids = [cast.ids.at(self._born(number)) for number in range(len(pages))]
        self._full = [page.number for page in pages if not page.empty]
        self._last: dict[int, tuple[ObjectId, int, datetime]] = {}
        self._people: list[Document] = cast.active

    def revisions(self) -> Iterator[Document]:
        """All revisions, in the order in which people would have made them."""
        cast, people = self._cast, self._people
        for turn in range(self._rounds):
            for position, number in enumerate(self._full):
                moment = cast.history.moment(0.45 + 0.5 * (turn + position / len(self._full)) / self._rounds)
                body = cast.text.body(number, turn, self._body_size)
                revision = cast.ids.at(moment)
                self._last[number] = (revision, len(body), moment)
                document = {"_id": revision, "format": "markdown", "pageId": self._ids[number], "body": body}
                document |= {"author": people[(number * 7 + turn) % len(people)]["_id"], "origin": "editor"}
                if turn:
                    document["hasDiffToPrev"] = True
                yield document | {"createdAt": moment, "__v": 0}

    def pages(self) -> Iterator[Document]:
        for page in self._pages:
            yield self._empty_page(page) if page.empty else self._page(page)

    def attachments(self, files: Iterable[File]) -> Iterator[Document]:
        """One document for each file; who has a profile image gets a reference to it."""
        cast = self._cast
        owners = iter(self._people)
        for position, file in enumerate(files):
            if file.of_page:
                page = self._ids[self._full[position % len(self._full)]]
                yield records.attachment(
                    cast, file, page, cast.rng.choice(self._people)["_id"], cast.history.moment(0.6)
                )
            else:
                owner = next(owners)
                image = records.attachment(cast, file, None, owner["_id"], cast.history.moment(0.5))
                owner |= {"imageAttachment": image["_id"], "imageUrlCached": f"/attachment/{image['_id']}"}
                yield image

    def around_pages(self) -> Mapping[str, Iterable[Document]]:
        """Tags, comments, bookmarks and the like, by collection."""
        ids = [self._ids[number] for number in self._full]
        tags = records.tags(self._cast)
        return {
            "tags": tags,
            "pagetagrelations": self._tag_relations(tags),
            "comments": self._comments(),
            "bookmarks": self._bookmarks(),
            "sharelinks": self._share_links(ids),
            "pageredirects": self._redirects(),
            "subscriptions": self._subscriptions(ids),
            "activities": records.activities(self._cast, ids),
            "yjs-writings": records.yjs_writings(self._cast, ids),
            "accesstokens": self._access_tokens(),
            "useruisettings": (
                {
                    "_id": self._id(0.4),
                    "user": user["_id"],
                    "preferCollapsedModeByUser": True,
                    "currentSidebarContents": "tree",
                    "__v": 0,
                }
                for user in self._people
            ),
        }

    def _born(self, number: int) -> datetime:
        return self._cast.history.moment(0.15 + 0.3 * number / len(self._pages))

    def _id(self, share: float) -> ObjectId:
        return self._cast.ids.at(self._cast.history.moment(share))

    def _empty_page(self, page: Page) -> Document:
        born = self._born(page.number)
        document = self._tree_fields(page)
        document |= {
            "path": page.path,
            "grantedUsers": [],
            "liker": [],
            "seenUsers": [],
            "commentCount": 0,
            "grantedGroups": [],
        }
        return document | {"updatedAt": born, "__v": 0, "createdAt": born}

    def _page(self, page: Page) -> Document:
        cast, people, number = self._cast, self._people, page.number
        creator = next((user for user in people if user["username"] == page.owner), people[number % len(people)])["_id"]
        born = self._born(number)
        revision, length, edited = self._last[number]
        document = self._tree_fields(page)
        document["grantedUsers"] = [creator] if page.grant == ONLY_ME else []
        document["liker"] = [user["_id"] for user in cast.rng.sample(people, k=min(len(people), number % 3))]
        document["seenUsers"] = [user["_id"] for user in people[: number % 5]]
        document["commentCount"] = _comments_on(number)
        document["grantedGroups"] = []
        if page.grant == GROUP:
            group = cast.groups[number % len(cast.groups)]["_id"]
            document["grantedGroups"] = [{"type": "UserGroup", "item": group, "_id": cast.ids.at(born)}]
        document |= {"updatedAt": edited, "path": page.path, "creator": creator, "lastUpdateUser": creator}
        document |= {"createdAt": born, "__v": 0, "latestRevisionBodyLength": length, "revision": revision}
        if page.trashed:
            document |= {"deleteUser": creator, "deletedAt": cast.history.moment(0.97)}
        if number % 40 == 39:
            # A draft: GROWI's index deletes it two days after this.
            document |= {"wip": True, "ttlTimestamp": cast.history.now - timedelta(hours=1)}
        return document

    def _tree_fields(self, page: Page) -> Document:
        return {
            "_id": self._ids[page.number],
            "parent": self._ids[page.parent.number] if page.parent is not None else None,
            "descendantCount": page.descendants,
            "isEmpty": page.empty,
            "status": "deleted" if page.trashed else "published",
            "grant": page.grant,
        }

    def _tag_relations(self, tags: Sequence[Document]) -> Iterator[Document]:
        for number in self._full[::2]:
            for tag in self._cast.rng.sample(tags, k=number % 3 + 1):
                relation: dict[str, Any] = {
                    "_id": self._id(0.5),
                    "relatedPage": self._ids[number],
                    "relatedTag": tag["_id"],
                }
                yield relation | {"isPageTrashed": self._pages[number].trashed, "__v": 0}

    def _comments(self) -> Iterator[Document]:
        cast = self._cast
        for number in self._full:
            for position in range(_comments_on(number)):
                moment = cast.history.moment(0.96 + position / 200)
                comment: dict[str, Any] = {"_id": cast.ids.at(moment), "page": self._ids[number]}
                comment |= {
                    "creator": self._people[(number + position) % len(self._people)]["_id"],
                    "revision": self._last[number][0],
                }
                comment |= {"comment": cast.text.sentence(number + position, 160), "commentPosition": -1}
                yield comment | {"createdAt": moment, "updatedAt": moment, "__v": 0}

    def _bookmarks(self) -> Iterator[Document]:
        for number in self._full[::5]:
            user = self._people[number % len(self._people)]["_id"]
            moment = self._cast.history.moment(0.7)
            yield {
                "_id": self._cast.ids.at(moment),
                "page": self._ids[number],
                "user": user,
                "createdAt": moment,
                "__v": 0,
            }

    def _share_links(self, ids: Sequence[ObjectId]) -> Iterator[Document]:
        for position, page in enumerate(ids[::25]):
            moment = self._cast.history.moment(0.8)
            link: dict[str, Any] = {"_id": self._cast.ids.at(moment), "relatedPage": page}
            link |= {"expiredAt": None if position % 2 else self._cast.history.now + timedelta(days=365)}
            yield link | {"description": self._cast.text.sentence(position, 30), "createdAt": moment, "__v": 0}

    def _redirects(self) -> Iterator[Document]:
        for number in self._full[6::20]:
            yield {
                "_id": self._id(0.7),
                "fromPath": f"/old{self._pages[number].path}",
                "toPath": self._pages[number].path,
                "__v": 0,
            }

    def _subscriptions(self, ids: Sequence[ObjectId]) -> Iterator[Document]:
        for position, page in enumerate(ids[::4]):
            moment = self._cast.history.moment(0.6)
            user = self._people[position % len(self._people)]["_id"]
            subscription: dict[str, Any] = {
                "_id": self._cast.ids.at(moment),
                "user": user,
                "targetModel": "Page",
                "target": page,
            }
            yield subscription | {"status": "SUBSCRIBE", "createdAt": moment, "__v": 0}

    def _access_tokens(self) -> Iterator[Document]:
        later = self._cast.history.now + timedelta(days=1000)
        for number, user in enumerate(self._people[:3]):
            token: dict[str, Any] = {
                "_id": self._id(0.9),
                "user": user["_id"],
                "tokenHash": f"{number:064x}",
                "expiredAt": later,
            }
            yield token | {"scopes": ["read:features:page"], "description": "スクリプト", "__v": 0}


def _comments_on(page: int) -> int:
    return page % 4 if page % 3 == 0 else 0
