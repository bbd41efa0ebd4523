"""A plan as a file that people edit: written by `push --plan --save FILE`, run by `push --config FILE`.

TOML, so that it has room for comments: what could be left out or accepted stands there, ready to be uncommented. No
secret is in it, and the key is not part of it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from growi_transfer.cli.merge_options import merge_lines, toml_text
from growi_transfer.cli.output import clean, count, duration, size
from growi_transfer.cli.session import UsageFault
from growi_transfer.protocol.errors import SettingInvalid
from growi_transfer.protocol.wire import CollectionName, MergeRules, PagePattern
from growi_transfer.pusher.options import PushOptions

_FILE_LIMIT = 4 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_OPTIONS = {"accept": "accept_warnings"}
"""Keys that have another name in `PushOptions`."""

Rate = Annotated[int | str, Field(union_mode="left_to_right")]


class PlanFile(BaseModel):
    """What may stand in the file. A key that is not there is as if its flag was not given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    destination: str | None = None
    """Origin of the one destination that this plan is for."""
    exclude_collections: list[CollectionName] | None = None
    exclude_paths: list[PagePattern] | None = None
    accept: list[str] | None = None
    commit: bool | None = None
    deep: bool | None = None
    follow: bool | None = None
    freeze: bool | None = None
    attachments_first: bool | None = None
    volumes: Annotated[int, Field(ge=1, le=32)] | None = None
    attachments: Annotated[int, Field(ge=1, le=64)] | None = None
    bandwidth: Rate | None = None
    patience: Annotated[int | float, Field(ge=0, le=86400)] | None = None
    merge: MergeRules | None = None


def read_plan_file(path: Path) -> PlanFile:
    """The file's content. Raises SettingInvalid, which names the file and the key."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise SettingInvalid(f"The plan {path} cannot be read: {error.strerror}.", setting="--config") from None
    if len(content) > _FILE_LIMIT:
        raise SettingInvalid(f"The plan {path} is larger than {size(_FILE_LIMIT)}.", setting="--config")
    try:
        table = tomllib.loads(content.decode())
    except ValueError as error:
        position = re.search(r" \(at [a-z0-9, ]+\)$", str(error))
        where = position.group() if position else ""
        raise SettingInvalid(f"The plan {path} is not TOML{where}.", setting="--config") from None
    return parse_plan(table, str(path))


def parse_plan(table: Mapping[str, Any], where: str) -> PlanFile:
    """A table as a plan. Raises SettingInvalid, which names the key."""
    for key in sorted(set(table) - set(PlanFile.model_fields)):
        near = difflib.get_close_matches(key, PlanFile.model_fields, n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SettingInvalid(f"{clean(key)[:80]}: there is no such key in a plan ({where}).{hint}", setting=key[:80])
    try:
        plan = PlanFile.model_validate(dict(table))
        if plan.bandwidth is not None:
            parse_rate(plan.bandwidth)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(str(step) for step in first["loc"] if step not in ("int", "str"))
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise SettingInvalid(f"{key}: {message} ({where}).", setting=key.split(".")[0]) from None
    except ValueError as error:
        raise SettingInvalid(f"bandwidth: {error} ({where}).", setting="bandwidth") from None
    return plan


def parse_rate(value: int | str) -> int:
    """Bytes per second: a number, or a text with K, M or G (powers of 1024). Raises ValueError."""
    text = str(value).strip()
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in ("K", "M", "G") else (text, "")
    try:
        rate = int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        rate = 0
    if rate < 1:
        raise ValueError("it is a number of bytes per second, such as 500K or 20M")
    return rate


def options_from(flags: Mapping[str, Any], plan: PlanFile | None) -> PushOptions:
    """The options of one push: flags that were given (not None), else the plan's, else the usual ones.

    `flags` has the names of `PushOptions`.
    """
    chosen: dict[str, Any] = {}
    for key, value in (plan.model_dump(exclude_none=True) if plan is not None else {}).items():
        name = _OPTIONS.get(key, key)
        if name == "bandwidth":
            value = parse_rate(value)
        if name != "destination":
            chosen[name] = tuple(value) if isinstance(value, list) else value
    known = {field.name for field in fields(PushOptions)}
    chosen.update({name: value for name, value in flags.items() if value is not None and name in known})
    return PushOptions(**chosen)


def write_plan(report: Mapping[str, Any], options: PushOptions, destination: str) -> str:
    """The file's text for what a preflight found under these options."""
    return "\n".join([*_lines(report, options, destination), ""])


def save_plan(path: Path, text: str) -> None:
    """Write a new file. Raises UsageFault."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UsageFault(f"The plan cannot be saved in {path}: {error.strerror}.") from None


def check_new_file(path: Path, *, plan: bool) -> None:
    """Raises UsageFault when the plan cannot be saved there: told before the work, not after it."""
    if not plan:
        raise UsageFault("--save goes with --plan.")
    if path.exists():
        raise UsageFault(f"{path} exists already; an edited plan is not written over.")
    if not path.parent.is_dir():
        raise UsageFault(f"There is no folder {path.parent}.")


def check_destination(origin: str, planned: PlanFile | None) -> None:
    """Raises SettingInvalid when the plan is for another destination."""
    if planned is not None and planned.destination is not None and planned.destination.rstrip("/") != origin:
        raise SettingInvalid(
            f"destination: the plan is for {clean(planned.destination)[:200]}, and the key leads to {origin}.",
            setting="destination",
        )


def _lines(report: Mapping[str, Any], options: PushOptions, destination: str) -> Iterator[str]:
    counts: Mapping[str, int] = report.get("counts", {})
    seconds = report.get("expected_seconds")
    yield f"# A plan of growi-transfer, made {clean(report.get('checked_at', ''))}. Edit it, then run:"
    yield "#   growi-transfer push --config FILE"
    yield "# Flags on the command line win over what stands here."
    yield "#"
    documents = f"{count(counts.get('documents', 0))} documents ({size(counts.get('document_bytes', 0))})"
    files = counts.get("attachments_moving", counts.get("attachments", 0))
    yield f"# Moves: {documents}, {count(files)} attachments ({size(counts.get('attachment_bytes', 0))})."
    if seconds is not None:
        yield f"# Expected time: about {duration(seconds)}."
    for blocker in report.get("blockers", []):
        yield f"# Blocker {clean(blocker['code'])}: {clean(blocker['message'])}"
    yield ""
    yield "# The plan is for keys of this destination only; without this line it is for any."
    yield f"destination = {toml_text(destination)}"
    yield ""
    yield "# Collections to leave out. Uncomment what shall stay behind."
    sizes = {one["name"]: f"{count(one['documents'])} documents, {size(one['bytes'])}" for one in _known(report)}
    yield from _list(
        "exclude_collections",
        [(name, sizes.get(name, "")) for name in options.exclude_collections],
        [(one["name"], sizes[one["name"]]) for one in report.get("collections", [])],
    )
    yield ""
    yield "# Pages whose attachments' files stay behind, with all pages below them. * is anything but a slash, ** any"
    yield "# number of segments. The pages and the attachments' documents move all the same."
    yield from _list(
        "exclude_paths",
        [(path, "") for path in options.exclude_paths],
        [("/trash", "")] if not options.exclude_paths else [],
    )
    yield ""
    yield "# Warnings under which to go on. Uncomment those that you accept."
    warnings = {one["code"]: one["message"] for one in report.get("warnings", [])}
    accepted = [*options.accept_warnings] + (
        [code for code in warnings if code not in options.accept_warnings] if options.accept_all else []
    )
    yield from _list(
        "accept",
        [(code, warnings.get(code, "")) for code in accepted],
        [(code, message) for code, message in warnings.items() if code not in accepted],
    )
    yield ""
    yield "# Whether to swap the data in when they are verified."
    yield f"commit = {str(options.commit).lower()}"
    yield "# Whether the destination reads every stored file again before the data count as verified."
    yield f"deep = {str(options.deep).lower()}"
    yield "# Go on catching up with the source until a commit is ordered; set this wiki's maintenance mode around it."
    yield f"follow = {str(options.follow).lower()}"
    yield f"freeze = {str(options.freeze).lower()}"
    yield "# Whether the files go before the documents; otherwise both go at once."
    yield f"attachments_first = {str(options.attachments_first).lower()}"
    yield "# Requests in flight. Left out, a number adapts to the line."
    yield f"volumes = {options.volumes}" if options.volumes else "# volumes = 3"
    yield f"attachments = {options.attachments}" if options.attachments else "# attachments = 4"
    yield "# At most so many bytes per second: 500K, 20M."
    yield f"bandwidth = {options.bandwidth}" if options.bandwidth else '# bandwidth = "20M"'
    yield "# Seconds for which either side may be away before the transfer stops."
    yield f"patience = {options.patience:g}"
    if options.merge is not None:
        yield ""
        yield from merge_lines(report.get("merge_conflicts") or {}, options.merge)


def _known(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from report.get("collections", [])
    for one in report.get("not_moving", []):
        if "documents" in one:
            yield one


def _list(key: str, chosen: Iterable[tuple[str, str]], others: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"{key} = ["
    for mark, pairs in (("", chosen), ("# ", others)):
        for value, note in pairs:
            # A newline inside would end the comment, and make what follows it part of the plan.
            value_text = toml_text(value)
            yield f"  {mark}{value_text}," + (f"  # {clean(note)}" if note else "")
    yield "]"
