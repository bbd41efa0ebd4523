"""Operations on transfers: those of their peers, those of admins, and those that both have. See docs/protocol.md."""

from __future__ import annotations

from growi_transfer.protocol.merge_keys import MergePlan
from growi_transfer.protocol.receipt import CounterSignature
from growi_transfer.protocol.wire import (
    COMPLETE_HEADER,
    DIGEST_HEADER,
    EPOCH_HEADER,
    META_HEADER,
    OFFSET_HEADER,
    PREFIX,
    Claim,
    PlanPage,
    PutTransfer,
    Verify,
)
from growi_transfer.web.openapi.operation import (
    BINARY,
    CHANGE,
    DATA,
    EVENTS,
    NUMBER,
    OBJECT,
    PEER,
    REQUEST,
    ROW,
    TEXT,
    TIME,
    ZIP,
    Operation,
    header,
    listing,
    maybe,
    named,
    of,
    query,
    whole,
)
from growi_transfer.web.requests import GenerateKey, Nothing, Push, Resume, Tune, VerifyAgain
from growi_transfer.web.watch_api import NewLink

RECEIVER, PUSHER, EITHER = "destination", "source", "transfers"
_ONE = PREFIX + "/transfers/{transfer_id}"
_EPOCH = header(EPOCH_HEADER, whole(0, (1 << 53) - 1, 0), "Number of the source's process; needed with a key.")
_NEEDED_EPOCH = {**_EPOCH, "required": True}
_ROLE = query("role", {"enum": ["pusher", "receiver"]})
_AFTER = query("after", {"type": "string", "pattern": "^[0-9A-Za-z]{0,20}$"}, "`next` of an earlier answer.")
_OFFSETS = ("Upload-Offset", "Upload-Complete")

_DESTINATION = [
    Operation(
        "POST", PREFIX + "/generate-key", "Make a transfer key; it is shown once", "admin", RECEIVER,
        {200: of(transferKey=TEXT, key=named("Key"), now=TIME)}, body=GenerateKey, errors=(*REQUEST, 404),
    ),
    Operation(
        "GET", PREFIX + "/keys", "Transfer keys, without the keys themselves", "admin", RECEIVER,
        {200: of(keys=listing(named("Key")), now=TIME)}, errors=(404,),
    ),
    Operation("DELETE", PREFIX + "/keys/{key_id}", "End a key", "admin", RECEIVER, {204: None}, errors=(404,)),
    Operation(
        "GET", PREFIX + "/growi-info", "What this instance is and may hold", "key", RECEIVER,
        {200: of(growiInfo=OBJECT)}, errors=(404,),
    ),
    Operation(
        "POST", PREFIX + "/preflight-probe", "Counts bytes and throws them away", "key", RECEIVER,
        {200: of(bytes=NUMBER)}, binary=BINARY, errors=(*REQUEST, 404),
    ),
    Operation(
        "POST", PREFIX + "/merge-plan", "What would be in the way of a merge", "key", RECEIVER,
        {200: of(conflicts=OBJECT)}, body=MergePlan, errors=CHANGE,
    ),
    Operation(
        "POST", PREFIX + "/keep-alive", "Renew the key's lease", "key", RECEIVER, {204: None}, body=Nothing,
        errors=(*REQUEST, 404),
    ),
    Operation(
        "GET", PREFIX + "/files", "What the attachment storage holds", "key", RECEIVER,
        {200: of(files=listing(of(name=TEXT, size=NUMBER)))}, errors=(404,),
    ),
    Operation(
        "POST", PREFIX + "/mongo", "Bring a whole archive in", "key", RECEIVER, {200: OBJECT}, binary=ZIP, errors=DATA,
    ),
    Operation(
        "POST", PREFIX + "/", "As GROWI: bring GROWI's archive in", "key", RECEIVER, {200: of(message=TEXT)},
        form={"transferDataZipFile": {"type": "string", "contentMediaType": ZIP}, "collections": TEXT,
              "optionsMap": TEXT, "operatorUserId": TEXT, "uploadConfigs": TEXT},
        errors=DATA,
    ),
    Operation(
        "POST", PREFIX + "/attachment", "As GROWI: one attachment", "key", RECEIVER, {200: of(message=TEXT)},
        form={"content": {"type": "string", "contentMediaType": BINARY}, "attachmentMetadata": TEXT}, errors=DATA,
    ),
    Operation(
        "PUT", _ONE, "Begin a transfer, or go on with it", "key", RECEIVER, {200: named("Held")}, body=PutTransfer,
        headers=(_NEEDED_EPOCH,), errors=DATA,
    ),
    Operation(
        "POST", _ONE + "/claim", "A new key takes the transfer over", "key", RECEIVER, {200: named("Held")}, body=Claim,
        errors=CHANGE,
    ),
    Operation(
        "POST", _ONE + "/keep-alive", "Renew the lease of the transfer's key", "key", RECEIVER, {204: None},
        body=Nothing, headers=(_NEEDED_EPOCH,), errors=CHANGE,
    ),
    Operation(
        "PUT", _ONE + "/volumes/{collection}/{number}", "The documents of one range", "key", RECEIVER,
        {200: of(number=NUMBER, documents=NUMBER, digest=TEXT)}, binary=ZIP, headers=(_NEEDED_EPOCH,), errors=DATA,
    ),
    Operation(
        "GET", _ONE + "/volumes/{collection}", "Ranges that are stored whole", "key", RECEIVER,
        {200: of(volumes=listing(of(number=NUMBER, documents=NUMBER, bytes=NUMBER, digest=TEXT)))}, errors=ROW,
    ),
    Operation(
        "POST", _ONE + "/attachments/plan", "Which of these attachments are missing", "key", RECEIVER,
        {200: of(missing=listing(TEXT), same_size=listing(TEXT), stored=NUMBER)}, body=PlanPage,
        headers=(_NEEDED_EPOCH,), errors=DATA,
    ),
    Operation(
        "POST", _ONE + "/attachments", "A bundle of small files", "key", RECEIVER, {200: of(results=listing(OBJECT))},
        binary=BINARY, headers=(_NEEDED_EPOCH,), errors=DATA,
    ),
    Operation(
        "HEAD", _ONE + "/attachments/{attachment_id}", "How much of a large file is durable", "key", RECEIVER,
        {204: None}, errors=ROW, answer_headers=_OFFSETS,
    ),
    Operation(
        "PATCH", _ONE + "/attachments/{attachment_id}", "Append to a large file", "key", RECEIVER, {204: None},
        binary=BINARY,
        headers=(
            _NEEDED_EPOCH,
            header(OFFSET_HEADER, whole(0, 1 << 53, 0), required=True),
            header(COMPLETE_HEADER, {"enum": ["?0", "?1"]}, required=True),
            header(META_HEADER, TEXT, "Base64 of the announcement, with the first request."),
            header(DIGEST_HEADER, {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "With the last request."),
        ),
        errors=DATA, answer_headers=_OFFSETS,
    ),
    Operation(
        "POST", _ONE + "/receipt", "The source's mark under the receipt", "key", RECEIVER, {200: OBJECT},
        body=CounterSignature, errors=CHANGE,
    ),
]  # fmt: skip

_SOURCE = [
    Operation(
        "GET", PREFIX + "/transferable-collections", "Names of collections that would move", "admin", PUSHER,
        {200: of(collections=listing(TEXT))}, errors=(404,),
    ),
    Operation(
        "POST", PREFIX + "/preflight", "Check a destination; writes nothing", "admin", PUSHER,
        {200: named("Report")}, body=Push, errors=PEER,
    ),
    Operation(
        "POST", PREFIX + "/transfer", "Start a transfer, or go on with it", "admin", PUSHER,
        {200: of(message=TEXT, transferId=TEXT)}, body=Push, errors=PEER,
    ),
    Operation(
        "PATCH", _ONE, "Change how fast it runs", "admin", PUSHER, {200: named("TransferAnswer")}, body=Tune,
        errors=CHANGE,
    ),
    *(
        Operation(
            "POST", f"{_ONE}/{name}", text, "admin", PUSHER, {200: named("TransferAnswer")}, body=body, errors=PEER
        )
        for name, text, body in (
            ("pause", "Stop for a while", Nothing),
            ("retry", "Try again what failed", Nothing),
            ("resume", "Go on", Resume),
        )
    ),
]  # fmt: skip

_SHARED = [
    Operation(
        "GET", PREFIX + "/transfers", "Transfers, newest first", "admin", EITHER,
        {200: of(transfers=listing(named("Transfer")), total=NUMBER)},
        query=(
            query("limit", whole(1, 1000, 100)), query("skip", whole(0, 1_000_000, 0)), _ROLE,
            query("state", TEXT, "Some states, with commas between them."),
        ),
        errors=(400,),
    ),
    Operation("GET", _ONE, "One transfer", "either", EITHER, {200: named("TransferAnswer")}, errors=ROW),
    Operation(
        "POST", _ONE + "/verify", "Compare what has arrived with what was sent", "either", EITHER,
        {200: named("TransferAnswer")}, body=(VerifyAgain, Verify), headers=(_EPOCH,), errors=PEER,
    ),
    *(
        Operation(
            "POST", f"{_ONE}/{name}", text, "either", EITHER, {200: named("TransferAnswer")}, body=Nothing,
            headers=(_EPOCH,), errors=PEER,
        )
        for name, text in (
            ("commit", "Swap in what was verified"),
            ("rollback", "Bring back what was there before"),
            ("cancel", "End it, and leave the destination as it was"),
        )
    ),
    *(
        Operation(
            "POST", f"{_ONE}/{name}", text, "admin", EITHER, {200: named("TransferAnswer")}, body=Nothing, errors=PEER
        )
        for name, text in (
            ("purge", "Remove what is kept of a finished transfer"),
            ("release-maintenance", "End the maintenance mode that a commit left on"),
        )
    ),
    Operation("GET", _ONE + "/receipt", "The signed receipt", "either", EITHER, {200: OBJECT}, errors=PEER),
    Operation(
        "GET", _ONE + "/details", "Set-up, plan and end", "admin", EITHER,
        {200: of(transfer=named("Transfer"), destination=maybe(TEXT), preset=maybe(TEXT), plan=maybe(OBJECT))},
        query=(_ROLE,), errors=ROW,
    ),
    Operation(
        "GET", _ONE + "/collections", "Each collection, with what of it has arrived", "admin", EITHER,
        {200: of(collections=listing(named("CollectionProgress")))}, query=(_ROLE,), errors=ROW,
    ),
    Operation(
        "GET", _ONE + "/failures", "Files that could not be moved", "admin", EITHER,
        {200: of(failures=listing(named("FailedFile")), total=NUMBER, next=maybe(TEXT))},
        query=(_ROLE, query("limit", whole(1, 500, 50)), _AFTER), errors=ROW,
    ),
    Operation(
        "GET", _ONE + "/logs", "What happened", "admin", EITHER,
        {200: of(logs=listing(named("LogLine")), next=TEXT)},
        query=(
            _ROLE, query("level", {"enum": ["info", "warning", "error"]}), query("limit", whole(1, 2000, 200)), _AFTER,
        ),
        errors=ROW,
    ),
    Operation(
        "GET", _ONE + "/events", "Its changes as server-sent events", "either", EITHER, {200: {}}, errors=ROW,
        media=EVENTS,
    ),
    Operation("GET", PREFIX + "/events", "Changes of all as server-sent events", "admin", EITHER, {200: {}},
              media=EVENTS),
    Operation(
        "POST", PREFIX + "/receipts/verify", "Check a receipt that somebody kept", "admin", EITHER, {200: OBJECT},
        binary="application/json", query=(query("data", {"type": "boolean", "default": False}),), errors=PEER,
    ),
]  # fmt: skip

_WATCH = [
    Operation(
        "POST", _ONE + "/watch-links", "A link by which others look on", "admin", "watch",
        {201: of(link=named("WatchLink"), path=TEXT, url=TEXT)}, body=NewLink, query=(_ROLE,), errors=CHANGE,
    ),
    Operation(
        "GET", _ONE + "/watch-links", "Links that are valid", "admin", "watch",
        {200: of(links=listing(named("WatchLink")))}, query=(_ROLE,), errors=ROW,
    ),
    Operation("DELETE", _ONE + "/watch-links", "End all links", "admin", "watch", {204: None}, query=(_ROLE,),
              errors=ROW),
    Operation("DELETE", _ONE + "/watch-links/{link_id}", "End one link", "admin", "watch", {204: None},
              query=(_ROLE,), errors=ROW),
    Operation(
        "GET", PREFIX + "/watch", "The transfer of a link", "watch", "watch",
        {200: of(transfer=OBJECT, expires_at=TIME)}, errors=(404,),
    ),
    Operation(
        "GET", PREFIX + "/watch/collections", "Each collection of the transfer of a link", "watch", "watch",
        {200: of(collections=listing(named("CollectionProgress")))}, errors=(404,),
    ),
    Operation("GET", PREFIX + "/watch/events", "Its changes as server-sent events", "watch", "watch", {200: {}},
              errors=(404,), media=EVENTS),
]  # fmt: skip

OPERATIONS = [*_DESTINATION, *_SOURCE, *_SHARED, *_WATCH]
