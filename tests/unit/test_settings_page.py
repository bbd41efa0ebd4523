"""docs/settings.md names every setting with its default, and no setting that does not exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from growi_transfer.settings import Settings, list_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`)? ?\| (\S.*) \|$", re.MULTILINE)


def test_the_page_has_each_setting_with_its_default() -> None:
    documented = {name: default for name, default, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert documented == {info.name: info.default for info in list_settings()}


def test_the_example_file_is_a_settings_file(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "example.toml"
    path.write_text(example, encoding="utf-8")
    settings = Settings.load({}, path)
    assert settings.host == tomllib.loads(example)["GROWI_TRANSFER_HOST"]
    assert settings.public_origin() == "https://transfer.example.com"
