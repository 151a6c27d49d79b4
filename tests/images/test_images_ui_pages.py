"""What is in the page's image is enough for every page."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from images_text import IMAGES, ROOT, pins

from functions.database import engine
from functions.migrate import migrate
from ui.pages import NAMES

(IMAGE,) = (image for image in IMAGES if image.name == "ui")
# Hides what the image does not have, then shows one page as a cluster without any other part would.
SHOW = """
import importlib.abc, json, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

hidden = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Hidden())
from streamlit.testing.v1 import AppTest
for name in sys.argv[2:]:
    script = f"import importlib; importlib.import_module('ui.pages.{name}').render()"
    app = AppTest.from_string(script, default_timeout=60)
    app.run()
    missing = str(app._tree).count("No module named")
    print("PAGE", name, json.dumps([error.message for error in app.exception]), missing)
"""


def hidden_modules() -> set[str]:
    """Modules of ours and of others that are here and not in the image."""
    have = {*pins(IMAGE.lock)}
    others = {
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & have
    }
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {path.name for path in IMAGE.copied()}
    return (others | ours) - {path.name for path in IMAGE.copied()}


@pytest.mark.usefixtures("processes")
def test_every_page_is_shown_with_what_the_image_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loop.db"
    database = engine(url)
    migrate(database)
    database.dispose()
    hidden = hidden_modules()
    assert {"local", "predictor", "pipelines", "torch", "kserve", "mlflow", "kfp", "transformers"} <= hidden
    loop = yaml.safe_load((ROOT / "knative/config.yaml").read_text())["data"]
    nowhere = dict.fromkeys(("K_SINK", "MLFLOW_TRACKING_URI", "KFP_ENDPOINT", "MCQA_URL"), "http://127.0.0.1:9")
    environ = {**loop, **nowhere, "MCQA_DATABASE_URL": url, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", SHOW, json.dumps(sorted(hidden)), *NAMES],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    shown = [line for line in done.stdout.splitlines() if line.startswith("PAGE ")]
    assert shown == [f"PAGE {name} [] 0" for name in NAMES], done.stderr[-3000:]
