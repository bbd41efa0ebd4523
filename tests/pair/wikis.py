"""Small wikis in GROWI's shapes, and a check of a wiki that shares nothing with the merge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from growi_transfer.demo.schema import GROWI

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# Read from GROWI's models: (collection, field, collection it leads to). Written down anew here, so that a mistake in
# the table of the program is seen.
TRUTH = (
    ("pages", "parent", "pages"),
    ("pages", "revision", "revisions"),
    ("pages", "creator", "users"),
    ("pages", "lastUpdateUser", "users"),
    ("pages", "deleteUser", "users"),
    ("pages", "liker", "users"),
    ("pages", "seenUsers", "users"),
    ("pages", "grantedUsers", "users"),
    ("pages", "grantedGroups.item", "usergroups"),
    ("revisions", "pageId", "pages"),
    ("revisions", "author", "users"),
    ("comments", "page", "pages"),
    ("comments", "creator", "users"),
    ("comments", "revision", "revisions"),
    ("comments", "replyTo", "comments"),
    ("attachments", "page", "pages"),
    ("attachments", "creator", "users"),
    ("users", "imageAttachment", "attachments"),
    ("bookmarks", "page", "pages"),
    ("bookmarks", "user", "users"),
    ("bookmarkfolders", "owner", "users"),
    ("bookmarkfolders", "parent", "bookmarkfolders"),
    ("bookmarkfolders", "bookmarks", "bookmarks"),
    ("usergrouprelations", "relatedGroup", "usergroups"),
    ("usergrouprelations", "relatedUser", "users"),
    ("usergroups", "parent", "usergroups"),
    ("externalaccounts", "user", "users"),
    ("pagetagrelations", "relatedPage", "pages"),
    ("pagetagrelations", "relatedTag", "tags"),
    ("sharelinks", "relatedPage", "pages"),
    ("subscriptions", "user", "users"),
    ("subscriptions", "target", "pages"),
    ("accesstokens", "user", "users"),
    ("useruisettings", "user", "users"),
    ("editorsettings", "userId", "users"),
)

COLLECTIONS = sorted({name for name, _, _ in TRUTH} | {"configs", "tags", "pageredirects"})


def _index(keys: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": dict.fromkeys(keys.split(), 1), "name": "_".join(f"{key}_1" for key in keys.split()), **options}


class Wiki:
    """Fills a database; the ids are those that GROWI would give: different in every wiki."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self.database = database
        for name in COLLECTIONS:
            database.create_collection(name)
            if GROWI[name]:
                database.command({"createIndexes": name, "indexes": [_index(*index) for index in GROWI[name]]})

    def user(self, username: str, email: str | None = None, **more: Any) -> ObjectId:
        user = {"username": username, "name": username, "status": 2, "admin": False, "password": "x" * 64}
        if email is not None:
            user["email"] = email
        return self._put("users", {**user, "createdAt": NOW, "updatedAt": NOW, "__v": 0, **more})

    def group(self, name: str, *members: ObjectId, parent: ObjectId | None = None) -> ObjectId:
        group = self._put("usergroups", {"name": name, "parent": parent, "createdAt": NOW, "updatedAt": NOW, "__v": 0})
        for member in members:
            self._put("usergrouprelations", {"relatedGroup": group, "relatedUser": member, "createdAt": NOW, "__v": 0})
        return group

    def page(self, path: str, creator: ObjectId, body: str = "text", **more: Any) -> ObjectId:
        """A page with a revision; parents, empty ancestors and counts follow with `grow`."""
        page, revision = ObjectId(), ObjectId()
        self.database["revisions"].insert_one(
            {"_id": revision, "pageId": page, "body": body, "author": creator, "createdAt": NOW, "__v": 0}
        )
        document = {"parent": None, "descendantCount": 0, "isEmpty": False, "status": "published", "grant": 1}
        document |= {"grantedUsers": [], "liker": [], "seenUsers": [creator], "commentCount": 0, "grantedGroups": []}
        document |= {"path": path, "creator": creator, "lastUpdateUser": creator, "revision": revision}
        self.database["pages"].insert_one(
            {"_id": page, **document, "createdAt": NOW, "updatedAt": NOW, "__v": 0, **more}
        )
        return page

    def comment(self, page: ObjectId, creator: ObjectId) -> ObjectId:
        self.database["pages"].update_one({"_id": page}, {"$inc": {"commentCount": 1}})
        revision = self.at(page)["revision"]
        return self._put(
            "comments", {"page": page, "creator": creator, "revision": revision, "comment": "so", "__v": 0}
        )

    def tag(self, name: str, *pages: ObjectId) -> ObjectId:
        tag = self._put("tags", {"name": name, "__v": 0})
        for page in pages:
            self._put("pagetagrelations", {"relatedPage": page, "relatedTag": tag, "isPageTrashed": False, "__v": 0})
        return tag

    def put(self, collection: str, **document: Any) -> ObjectId:
        return self._put(collection, {**document, "__v": 0})

    def _put(self, collection: str, document: dict[str, Any]) -> ObjectId:
        return ObjectId(self.database[collection].insert_one(document).inserted_id)

    def at(self, identity: ObjectId) -> dict[str, Any]:
        found = self.database["pages"].find_one({"_id": identity})
        assert found is not None
        return found

    def grow(self) -> Wiki:
        """Put every public page on the tree, the plain way."""
        pages = self.database["pages"]
        if pages.find_one({"path": "/"}) is None:
            self.page("/", next(user["_id"] for user in self.database["users"].find()))
        wanted = [page for page in pages.find() if page["grant"] != 2 and page["status"] == "published"]
        by_path = {page["path"]: page["_id"] for page in wanted}
        for path in sorted(by_path):
            while (path := path.rpartition("/")[0] or "/") not in by_path:
                by_path[path] = self.page(path, self.database["users"].find_one()["_id"], isEmpty=True)  # type: ignore[index]
                self.database["revisions"].delete_one({"pageId": by_path[path]})
                pages.update_one(
                    {"_id": by_path[path]},
                    {"$unset": {"revision": 1, "creator": 1, "lastUpdateUser": 1}, "$set": {"seenUsers": []}},
                )
        for path, identity in by_path.items():
            above = None if path == "/" else by_path[path.rpartition("/")[0] or "/"]
            full = {"path": {"$regex": f"^{path if path != '/' else ''}/."}, "isEmpty": False, "grant": {"$ne": 2}}
            count = pages.count_documents({**full, "status": "published"})
            pages.update_one({"_id": identity}, {"$set": {"parent": above, "descendantCount": count}})
        return self


def faults(database: Database[dict[str, Any]]) -> list[str]:
    """What is wrong with a wiki: references that lead nowhere, and a page tree that is none."""
    found: list[str] = []
    ids = {name: {one["_id"] for one in database[name].find({}, {"_id": 1})} for name in COLLECTIONS}
    for collection, path, target in TRUTH:
        field, _, inner = path.partition(".")
        for document in database[collection].find({field: {"$ne": None}}):
            value = document[field]
            for one in value if isinstance(value, list) else [value]:
                identity = one[inner] if inner else one
                if identity not in ids.get(target, set()):
                    found.append(f"{collection}.{path} of {document.get('path', document['_id'])} leads nowhere")
    pages = list(database["pages"].find())
    tree = {page["_id"]: page for page in pages if page["parent"] is not None or page["path"] == "/"}
    for page in tree.values():
        above = tree.get(page["parent"])
        if page["path"] != "/" and (above is None or above["path"] != (page["path"].rpartition("/")[0] or "/")):
            found.append(f"{page['path']} has the wrong parent")
        below = [one for one in tree.values() if one["path"] != page["path"] and _below(one["path"], page["path"])]
        count = sum(1 for one in below if not one["isEmpty"])
        if page["descendantCount"] != count:
            found.append(f"{page['path']} counts {page['descendantCount']} descendants, not {count}")
        if page["isEmpty"] and not below:
            found.append(f"{page['path']} is empty, and nothing is below it")
    paths = [page["path"] for page in tree.values()]
    found += [f"{path} is twice on the tree" for path in {path for path in paths if paths.count(path) > 1}]
    for page in pages:
        if page.get("commentCount", 0) != database["comments"].count_documents({"page": page["_id"]}):
            found.append(f"{page['path']} counts its comments wrong")
        revision = database["revisions"].find_one({"_id": page.get("revision")})
        if not page["isEmpty"] and (revision is None or revision["pageId"] != page["_id"]):
            found.append(f"the revision of {page['path']} is not its own")
    return found


def _below(path: str, top: str) -> bool:
    return path.startswith(top if top == "/" else top + "/")
