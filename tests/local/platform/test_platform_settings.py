"""The loop's folder and its settings.json as people leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.platform.settings import Folder, PlatformError, Ports, Settings


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "null", "{", "{}", '{"ports": []}', '{"ports": {"gateway": "x"}}', '{"ports": {"gateway": 99999}}',
        '{"ports": {"gateway": true}}', '{"ports": {"gateway": -1}}', '{"ports": {"other": 1}}',
        '{"ports": {}, "config": []}', '{"ports": {}, "config": {"a": 1}}', '{"ports": {}, "schedules": {"a": null}}',
        '{"ports": {}, "pipelines_ui": 1}', '{"ports": {}, "source": 1}', '{"ports": {}, "replica_cap": "1"}',
        '{"ports": {}, "replica_cap": -1}',
        '{"ports": {}, "ui": 1}', '{"ports": {}, "ui_actions": "yes"}', '{"ports": {"ui": "8501"}}',
    ],
)  # fmt: skip
def test_settings_that_are_not_usable_say_so_on_one_line(tmp_path: Path, content: Any) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(PlatformError, match=r"^[^\n]*settings\.json is not usable: [^\n]*; remove it$"):
        Folder(tmp_path).settings()


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    wanted = Settings(
        Ports(1, 2, 3, 4, 5, 6, 7), {"A": "1"}, {"drift": "@every 1m"}, "models/tiny", 0, False, True, "/build"
    )
    assert Folder(tmp_path).save(wanted) == wanted == Folder(tmp_path).settings()
    (tmp_path / "settings.json").write_text(json.dumps({"ports": {}}))
    assert Folder(tmp_path).settings() == Settings()


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("there")
    with pytest.raises(PlatformError, match="a dangling link"):
        Folder(link).make()
    (tmp_path / "there").mkdir(mode=0o755)
    Folder(link).make()
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o700
