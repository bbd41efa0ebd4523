"""One table of options: which source wins, what is refused, and that no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from growi_transfer.protocol.errors import SettingInvalid
from growi_transfer.settings import Settings, list_settings

SECRET = "pepper-pepper-pepper"


def refused(
    environ: dict[str, str], config_file: Path | None = None, flags: dict[str, object] | None = None
) -> SettingInvalid:
    with pytest.raises(SettingInvalid) as caught:
        Settings.load(environ, config_file, flags)
    return caught.value


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults() -> None:
    settings = Settings.load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 3400)
    assert settings.mongo_uri is None
    assert settings.admin_token is None
    assert settings.secrets == []
    assert settings.allowed_destinations == []
    assert settings.growi_environment == {}
    assert settings.data_dir == Path("~/.local/share/growi-transfer").expanduser()
    assert settings == Settings()


def test_making_one_by_hand_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROWI_TRANSFER_PORT", "1234")
    monkeypatch.setenv("PORT", "1234")
    assert Settings().port == 3400
    assert Settings.load({}).port == 3400


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = toml(tmp_path, "GROWI_TRANSFER_PORT = 1\nGROWI_TRANSFER_HOST = '10.0.0.1'\nGROWI_VERSION = '7.3.0'\n")
    environ = {"GROWI_TRANSFER_PORT": "2", "GROWI_TRANSFER_HOST": "10.0.0.2", "GROWI_TRANSFER_SETTINGS": str(path)}
    settings = Settings.load(environ, None, {"port": 3, "host": None})
    assert (settings.port, settings.host, settings.growi_version) == (3, "10.0.0.2", "7.3.0")
    assert settings.log_level == "info"


def test_the_file_of_the_flag_wins_over_that_of_the_environment(tmp_path: Path) -> None:
    path = toml(tmp_path, "GROWI_TRANSFER_PORT = 1\n")
    assert Settings.load({"GROWI_TRANSFER_SETTINGS": "/does/not/exist"}, path).port == 1


def test_empty_text_is_not_set() -> None:
    settings = Settings.load({"GROWI_TRANSFER_PORT": "", "MONGO_URI": "", "GROWI_TRANSFER_SETTINGS": ""})
    assert (settings.port, settings.mongo_uri) == (3400, None)


def test_growis_variables_are_handed_on_as_text(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        'FILE_UPLOAD = "gridfs"\nUSER_UPPER_LIMIT = 50\nLOCAL_STRATEGY_ENABLED = false\nPASSWORD_SEED = ""\n',
    )
    settings = Settings.load({"FILE_UPLOAD": "local", "HOME": "/x", "MONGO_URI": "mongodb://db/growi"}, path)
    assert settings.growi_environment == {
        "FILE_UPLOAD": "local",
        "USER_UPPER_LIMIT": "50",
        "LOCAL_STRATEGY_ENABLED": "false",
        "PASSWORD_SEED": "",
    }


def test_lists_are_separated_by_commas_or_toml_arrays(tmp_path: Path) -> None:
    text = f"{SECRET}-1, {SECRET}-2 ,"
    settings = Settings.load(
        {"GROWI_TRANSFER_SECRETS": text, "GROWI_TRANSFER_ALLOWED_DESTINATIONS": "127.0.0.0/8,db:80"}
    )
    assert [secret.get_secret_value() for secret in settings.secrets] == [f"{SECRET}-1", f"{SECRET}-2"]
    assert settings.allowed_destinations == ["127.0.0.0/8", "db:80"]
    path = toml(tmp_path, f"GROWI_TRANSFER_SECRETS = ['{SECRET}-1', '{SECRET}-2']\n")
    assert Settings.load({}, path).secrets == settings.secrets


@pytest.mark.parametrize(
    "good", ["::1", "[::1]:80", "10.1.2.3", "10.1.2.3:80", "10.0.0.0/8", "fe80::/10", "wiki.local:8080"]
)
def test_destinations_that_can_be_allowed(good: str) -> None:
    assert Settings.load({"GROWI_TRANSFER_ALLOWED_DESTINATIONS": good}).allowed_destinations == [good]


def test_the_data_folder_follows_xdg_unless_it_is_named() -> None:
    assert Settings.load({"XDG_DATA_HOME": "/x"}).data_dir == Path("/x/growi-transfer")
    assert Settings.load({"XDG_DATA_HOME": "/x", "GROWI_TRANSFER_DATA_DIR": "/y"}).data_dir == Path("/y")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GROWI_TRANSFER_PRT", "GROWI_TRANSFER_PORT"),
        ("GROWI_TRANSFER_SECRET", "GROWI_TRANSFER_SECRETS"),
        ("growi_transfer_key", "GROWI_TRANSFER_KEY"),
        ("GROWI_TRANSFER_CONFIG_FILE_OF_MINE", None),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str | None) -> None:
    error = refused({name: SECRET})
    assert error.details["setting"] == name
    assert name in error.message
    assert (f"Did you mean {hint}?" in error.message) == (hint is not None)
    assert SECRET not in error.message


def test_other_programs_variables_are_left_alone() -> None:
    Settings.load(
        {"GROWI_URI": "x", "FILE_UPLOAD_LOCAL_USE_INTERNAL_REDIRECT": "x", "PATH": "x", "GROWI_TRANSFERS": "x"}
    )


@pytest.mark.parametrize("name", ["FILE_UPLODA", "port", "GROWI_TRANSFER_SETTINGS", "server"])
def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path, name: str) -> None:
    path = toml(tmp_path, f"{name} = '{SECRET}'\n")
    error = refused({}, path)
    assert error.details["setting"] == name
    assert str(path) in error.message
    assert SECRET not in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GROWI_TRANSFER_PORT", "http"),
        ("GROWI_TRANSFER_PORT", "-1"),
        ("GROWI_TRANSFER_PORT", "65536"),
        ("GROWI_TRANSFER_ORIGIN", "wiki.example.com"),
        ("GROWI_TRANSFER_ORIGIN", "https://wiki.example.com/path"),
        ("GROWI_TRANSFER_ORIGIN", "https://user:pepper@wiki.example.com"),
        ("GROWI_TRANSFER_ADMIN_TOKEN", "pepper"),
        ("GROWI_TRANSFER_ADMIN_TOKEN", "pepper with spaces in it"),
        ("GROWI_TRANSFER_SECRETS", f"{SECRET},pepper"),
        ("GROWI_TRANSFER_ALLOWED_DESTINATIONS", "10.0.0.0/8,not a host"),
        ("GROWI_TRANSFER_ALLOWED_DESTINATIONS", "http://10.0.0.1"),
        ("GROWI_TRANSFER_RETENTION_DAYS", "-1"),
        ("GROWI_TRANSFER_LOG_LEVEL", "pepper"),
        ("GROWI_TRANSFER_LOG_FORMAT", "xml"),
        ("MONGO_URI", "postgres://pepper@db/growi"),
        ("FILE_UPLOAD", "ftp"),
        ("USER_UPPER_LIMIT", "many"),
        ("LOCAL_STRATEGY_ENABLED", "yes"),
    ],
)
def test_a_wrong_value_names_the_setting_and_never_the_value(tmp_path: Path, name: str, value: str) -> None:
    error = refused({name: value})
    assert error.details["setting"] == name
    assert error.message.startswith(name)
    assert "pepper" not in error.message
    assert "pepper" not in str(dict(error.details))
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    assert refused({}, toml(tmp_path, f"{name} = {value!r}\n")).details["setting"] == name


def test_a_wrong_value_tells_where_it_stands(tmp_path: Path) -> None:
    path = toml(tmp_path, "GROWI_TRANSFER_PORT = 'x'\n")
    assert "(environment)" in refused({"GROWI_TRANSFER_PORT": "x"}).message
    assert f"(file {path})" in refused({}, path).message
    assert "(flag --port)" in refused({"GROWI_TRANSFER_PORT": "1"}, None, {"port": "x"}).message


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"MONGO_URI = pepper", "line 1"), (b"\xff\xfe", "not TOML"), (b"[FILE_UPLOAD]\npepper = 1\n", "FILE_UPLOAD")],
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    error = refused({}, path)
    assert part in error.message
    assert "pepper" not in error.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    error = refused({}, tmp_path / "missing.toml")
    assert "missing.toml" in error.message
    assert error.details["setting"] == "GROWI_TRANSFER_SETTINGS"


def test_no_secret_in_the_representation() -> None:
    settings = Settings.load(
        {
            "MONGO_URI": "mongodb://user:pepper@db/growi",
            "GROWI_TRANSFER_ADMIN_TOKEN": SECRET,
            "GROWI_TRANSFER_SECRETS": SECRET,
            "GROWI_TRANSFER_KEY": SECRET,
            "PASSWORD_SEED": SECRET,
            "AZURE_CLIENT_SECRET": SECRET,
        }
    )
    assert "pepper" not in repr(settings)
    assert "pepper" not in str(settings)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("environ", "origin"),
    [
        ({}, "http://127.0.0.1:3400"),
        ({"GROWI_TRANSFER_HOST": "wiki.example.com", "GROWI_TRANSFER_PORT": "80"}, "http://wiki.example.com:80"),
        ({"GROWI_TRANSFER_HOST": "::1"}, "http://[::1]:3400"),
        (
            {"GROWI_TRANSFER_HOST": "0.0.0.0", "GROWI_TRANSFER_ORIGIN": "https://Wiki.example.com/"},
            "https://wiki.example.com",
        ),
        ({"GROWI_TRANSFER_PORT": "0", "GROWI_TRANSFER_ORIGIN": "http://10.0.0.5:3400"}, "http://10.0.0.5:3400"),
    ],
)
def test_the_public_origin(environ: dict[str, str], origin: str) -> None:
    assert Settings.load(environ).public_origin() == origin


@pytest.mark.parametrize(
    "environ", [{"GROWI_TRANSFER_HOST": "0.0.0.0"}, {"GROWI_TRANSFER_HOST": "::"}, {"GROWI_TRANSFER_PORT": "0"}]
)
def test_an_origin_only_a_person_can_know(environ: dict[str, str]) -> None:
    with pytest.raises(SettingInvalid, match="GROWI_TRANSFER_ORIGIN"):
        Settings.load(environ).public_origin()


def test_the_table_has_every_field_once() -> None:
    names = [info.name for info in list_settings()]
    assert len(names) == len(set(names))
    assert {"MONGO_URI", "GROWI_TRANSFER_KEY", "PASSWORD_SEED", "FILE_UPLOAD", "GROWI_TRANSFER_SETTINGS"} <= set(names)
    assert len(names) > len(Settings.model_fields)
    assert all(info.help for info in list_settings())
    assert {info.name: info.default for info in list_settings()}["GROWI_TRANSFER_PORT"] == "3400"
