"""Every option in one table: its environment name, type, default and help. Read once, by `Settings.load`.

A value comes from a flag, else from the environment, else from the settings file (TOML, where each setting has its
environment name), else from the default. GROWI's own variables keep GROWI's names and are handed on as text: what they
mean beside the wiki's database is decided in `protocol.growi_config`. Making a `Settings` by hand reads nothing.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from growi_transfer.protocol import growi_config
from growi_transfer.protocol.errors import SettingInvalid
from growi_transfer.settings.values import Destinations, Folder, MongoUri, Origin, Secret, Secrets, WebhookUrl

PREFIX = "GROWI_TRANSFER_"
SETTINGS_FILE = "GROWI_TRANSFER_SETTINGS"
_SECRETS = frozenset(
    {
        *("mongo_uri", "admin_token", "secrets", "transfer_key", "azure_account_key"),
        *("webhook_url", "webhook_secret", "metrics_token"),
    }
)


class Settings(BaseSettings):
    """The options in force. Frozen; no secret shows in its representation."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_default=True, hide_input_in_errors=True
    )

    mongo_uri: MongoUri | None = Field(
        None,
        validation_alias="MONGO_URI",
        repr=False,
        description="The wiki's MongoDB, as GROWI has it. Not set: a private mongod is started in the data folder.",
    )
    mongod_binary: Folder | None = Field(
        None, validation_alias="MONGOD_BINARY", description="The mongod to start when MONGO_URI is not set."
    )
    growi_version: Annotated[str, Field(max_length=100)] | None = Field(
        None,
        validation_alias="GROWI_VERSION",
        description="Version of the wiki's GROWI, such as 7.3.0. The database does not hold it; both sides must agree.",
    )
    host: str = Field(
        "127.0.0.1",
        validation_alias="GROWI_TRANSFER_HOST",
        description="Address to listen on. Only this machine by default: put a proxy with TLS in front of it, or name "
        "another address on purpose.",
    )
    port: int = Field(
        3400,
        ge=0,
        le=65535,
        validation_alias="GROWI_TRANSFER_PORT",
        description="Port to listen on; 0 takes a free one.",
    )
    origin: Origin | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_ORIGIN",
        description="Address under which others reach this server; it becomes part of each transfer key. "
        "Not set: http://HOST:PORT.",
    )
    data_dir: Folder = Field(
        Path("~/.local/share/growi-transfer"),
        validation_alias="GROWI_TRANSFER_DATA_DIR",
        description="Folder for secrets, the private mongod and files under way.",
    )
    admin_token: Secret | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_ADMIN_TOKEN",
        description="Token that admin routes ask for. Not set: one is made, printed once and kept in the data folder.",
    )
    secrets: Secrets = Field(
        [],
        validation_alias="GROWI_TRANSFER_SECRETS",
        description="Secrets that sign transfer keys, newest last, separated by commas: the last one signs, all are "
        "accepted. Not set: one is made and kept in the data folder.",
    )
    uploads_dir: Folder | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_UPLOADS_DIR",
        description="Root of the local attachment storage: GROWI's public/uploads. Needed when FILE_UPLOAD is local.",
    )
    azure_account_key: SecretStr | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_AZURE_ACCOUNT_KEY",
        description="Account key of the Azure storage, in place of GROWI's tenant, client id and client secret.",
    )
    azure_endpoint: str | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_AZURE_ENDPOINT",
        description="Address of an Azure Blob service that is not Azure's own, with the account: an emulator.",
    )
    gcs_endpoint: str | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_GCS_ENDPOINT",
        description="Address of a Google Cloud Storage service that is not Google's own: an emulator.",
    )
    allowed_destinations: Destinations = Field(
        [],
        validation_alias="GROWI_TRANSFER_ALLOWED_DESTINATIONS",
        description="Loopback and link-local destinations that a key may point to: networks, addresses or host[:port], "
        "separated by commas. All others need no entry.",
    )
    transfer_key: SecretStr | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_KEY",
        description="The transfer key for `push`, when it is neither piped in nor typed.",
    )
    retention_days: int = Field(
        7,
        ge=0,
        le=3650,
        validation_alias="GROWI_TRANSFER_RETENTION_DAYS",
        description="Days for which the data that a commit replaced are kept for a rollback.",
    )
    jobs_at_once: int = Field(
        2,
        ge=1,
        le=16,
        validation_alias="GROWI_TRANSFER_JOBS_AT_ONCE",
        description="Exports and imports that a server runs at once; others wait. Imports run one after the other.",
    )
    export_retention_hours: int = Field(
        168,
        ge=0,
        le=87600,
        validation_alias="GROWI_TRANSFER_EXPORT_RETENTION_HOURS",
        description="Hours for which the archive of an export job is kept; 0: for ever.",
    )
    export_bytes: Annotated[int, Field(ge=0)] | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_EXPORT_BYTES",
        description="Bytes that the archives of export jobs may have together: older ones go, the newest one stays.",
    )
    webhook_url: WebhookUrl | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_WEBHOOK_URL",
        repr=False,
        description="Where to tell that a job has ended: an http or https address. It needs a secret.",
    )
    webhook_secret: Secret | None = Field(
        None, validation_alias="GROWI_TRANSFER_WEBHOOK_SECRET", description="Signs what goes to the webhook."
    )
    metrics_token: Secret | None = Field(
        None,
        validation_alias="GROWI_TRANSFER_METRICS_TOKEN",
        description="Token that may read /metrics and nothing else. The admin token may, too.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="GROWI_TRANSFER_LOG_LEVEL", description="The least important messages to log."
    )
    log_format: Literal["text", "json"] = Field(
        "text", validation_alias="GROWI_TRANSFER_LOG_FORMAT", description="How log lines look: text or json."
    )
    growi_environment: Mapping[str, str] = Field(
        {}, repr=False, description="The raw text of each of GROWI's own variables that is set."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` says what is read, and from where; a process variable must not slip in when a test makes a value.
        return (init_settings,)

    def public_origin(self) -> str:
        """The address others are told. Raises SettingInvalid when only a person can know it."""
        if self.origin:
            return self.origin
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = ipaddress.ip_address(self.host)
        except ValueError:
            address = None
        if not self.port or (address is not None and address.is_unspecified):
            raise SettingInvalid(
                f"{PREFIX}ORIGIN is needed: {self.host}:{self.port} is no address that another machine could be told.",
                setting=f"{PREFIX}ORIGIN",
            )
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        config_file: Path | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Settings:
        """The options from all sources. `flags` has field names; None in it is a flag that was not given.

        Raises SettingInvalid, which names the setting and where it stood, never its value.
        """
        path = config_file or (Path(environ[SETTINGS_FILE]) if environ.get(SETTINGS_FILE) else None)
        names = {_environment_name(field): field for field in cls.model_fields if field != "growi_environment"}
        known = (*names, *growi_config.ENVIRONMENT_NAMES)
        ours = [name for name in environ if name.upper().startswith(PREFIX)]
        _refuse_unknown(ours, (*known, SETTINGS_FILE), "environment")
        in_file = _read_file(path, known) if path else {}
        in_environment = {name: environ[name] for name in known if name in environ}
        growi = {
            name: text
            for name, text in {**in_file, **in_environment}.items()
            if name in growi_config.ENVIRONMENT_NAMES and isinstance(text, str)
        }
        for name, text in growi.items():
            growi_config.check_environment(name, text)
        values: dict[str, Any] = {"growi_environment": growi}
        if environ.get("XDG_DATA_HOME"):
            values["data_dir"] = Path(environ["XDG_DATA_HOME"]) / "growi-transfer"
        origins: dict[str, str] = {}
        for source, found in ((f"file {path}", in_file), ("environment", in_environment)):
            for name, value in found.items():
                if name in names and value != "":
                    values[names[name]] = value
                    origins[names[name]] = source
        for field, value in (flags or {}).items():
            if value is not None:
                values[field] = value
                origins[field] = f"flag --{field.replace('_', '-')}"
        try:
            return cls(**values)
        except ValidationError as error:
            raise _setting_invalid(error, origins) from None


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One line of the table, for docs/settings.md."""

    name: str
    default: str
    """As text; empty when there is none."""
    help: str
    secret: bool
    owner: Literal["growi-transfer", "GROWI"]


def list_settings() -> list[SettingInfo]:
    """Every setting that can be given, ours first, each with the text the documentation must have."""
    ours = [
        SettingInfo(
            name=_environment_name(name),
            default=_default_text(field.default),
            help=field.description or "",
            secret=name in _SECRETS,
            owner="growi-transfer",
        )
        for name, field in Settings.model_fields.items()
        if name != "growi_environment"
    ]
    ours.append(SettingInfo(SETTINGS_FILE, "", "A TOML file with settings, like --settings.", False, "growi-transfer"))
    theirs = [
        SettingInfo(
            name=name,
            default=_default_text(setting.default),
            help=setting.help,
            secret=setting.secret,
            owner="GROWI",
        )
        for name, setting in growi_config.BY_ENVIRONMENT.items()
    ]
    seed = "Text that GROWI mixes into passwords. It is compared by fingerprint and never sent."
    return [*ours, *theirs, SettingInfo(growi_config.PASSWORD_SEED, "", seed, True, "GROWI")]


def _default_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, []) else str(value)


def _environment_name(field: str) -> str:
    return str(Settings.model_fields[field].validation_alias)


def _refuse_unknown(names: list[str], known: tuple[str, ...], where: str) -> None:
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SettingInvalid(f"There is no setting {name} ({where}).{hint}", setting=name, where=where)


def _read_file(path: Path, known: tuple[str, ...]) -> dict[str, Any]:
    where = f"file {path}"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        text = f"The settings file {path} cannot be read: {error.strerror}."
        raise SettingInvalid(text, setting=SETTINGS_FILE) from None
    except ValueError as error:
        # Bytes that are not UTF-8, or not TOML. The position is told; the text, which may hold a secret, is not.
        position = re.search(r" \(at [a-z0-9, ]+\)$", str(error))
        text = f"The settings file {path} is not TOML{position.group() if position else ''}."
        raise SettingInvalid(text, setting=SETTINGS_FILE) from None
    _refuse_unknown(list(table), known, where)
    for name in table:
        if name in growi_config.ENVIRONMENT_NAMES:
            table[name] = _as_environment_text(name, table[name], where)
    return table


def _as_environment_text(name: str, value: object, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    text = f"{name} must be a text, a whole number or true or false ({where})."
    raise SettingInvalid(text, setting=name, where=where)


def _setting_invalid(error: ValidationError, origins: Mapping[str, str]) -> SettingInvalid:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    location = str(first["loc"][0]) if first["loc"] else ""
    fields = {_environment_name(field): field for field in Settings.model_fields if field != "growi_environment"}
    field = fields.get(location, location)
    name = _environment_name(field) if field in Settings.model_fields else location
    text = first["msg"].removeprefix("Value error, ")
    where = f" ({origins[field]})" if field in origins else ""
    return SettingInvalid(f"{name}: {text}{where}.", setting=name, where=origins.get(field, "default"))
