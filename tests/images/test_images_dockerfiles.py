"""What every Dockerfile keeps to, read from its text."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from images_text import IMAGES, ROOT, Image

from pipelines.retraining.pod_spec import IMAGE
from predictor import __version__
from tools.cluster.up import IMAGE_SOURCES
from tools.images import build

SCRIPTS = ("images-packages", "images-bytecode", "images-base", "fetch-trivy", "run", "setup", "tools")
every = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)


def final_stage(image: Image) -> list[tuple[str, str]]:
    instructions = image.instructions()
    last = max(at for at, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[last + 1 :]


@every
def test_runs_as_a_number_that_is_not_root(image: Image) -> None:
    (user,) = [arguments for name, arguments in final_stage(image) if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert user == "65532:65532", "the manifests' runAsUser"


@every
def test_the_base_is_an_argument_with_an_exact_version(image: Image) -> None:
    froms = [arguments for name, arguments in image.instructions() if name == "FROM"]
    assert froms == ["scratch AS wheels", "${BASE} AS build", "${BASE}"]
    (base,) = [arguments for name, arguments in image.instructions() if name == "ARG" and arguments.startswith("BASE=")]
    assert re.search(r":3\.11\.\d+-|@sha256:", base), "a tag of an exact Python, or a digest"


@every
def test_all_images_have_the_same_base(image: Image) -> None:
    def base(one: Image) -> list[str]:
        return [arguments for name, arguments in one.instructions() if arguments.startswith("BASE=")]

    assert base(image) == base(IMAGES[0])


@every
def test_nothing_is_fetched_but_by_pip(image: Image) -> None:
    assert not [arguments for name, arguments in image.instructions() if name == "ADD"]
    assert "latest" not in image.dockerfile.read_text()
    runs = " ".join(arguments for name, arguments in image.instructions() if name == "RUN")
    assert not re.search(r"\b(curl|wget|git|apt|apt-get|npm)\b", runs)


@every
def test_the_final_stage_installs_nothing(image: Image) -> None:
    runs = [arguments for name, arguments in final_stage(image) if name == "RUN"]
    assert runs == ["--mount=type=bind,source=scripts/images-base,target=/base sh /base"]
    copies = [arguments for name, arguments in final_stage(image) if name == "COPY"]
    assert all(arguments.startswith("--from=build ") for arguments in copies)


@every
def test_it_is_labelled(image: Image) -> None:
    (label,) = [arguments for name, arguments in final_stage(image) if name == "LABEL"]
    for name in ("title", "description", "licenses"):
        assert re.search(rf'org\.opencontainers\.image\.{name}="[^"]+"', label)


def test_version_and_revision_are_labels_that_no_cache_keeps() -> None:
    """podman 4.3 takes `LABEL a="${B}"` from its cache though B has changed: they are flags of the build."""
    for engine in ("podman", "buildah", "docker"):
        flags = build.build_flags(engine, build.Settings("r", "t"), revision="abc", epoch="0")
        labels = [flags[at + 1] for at, flag in enumerate(flags) if flag == "--label"]
        assert labels == [
            f"org.opencontainers.image.version={__version__}",
            "org.opencontainers.image.revision=abc",
        ]
    assert not any("${" in arguments for image in IMAGES for name, arguments in final_stage(image) if name == "LABEL")


@every
def test_it_works_on_a_read_only_root(image: Image) -> None:
    (env,) = [arguments for name, arguments in final_stage(image) if name == "ENV"]
    assert "HOME=/tmp" in env
    assert "PYTHONDONTWRITEBYTECODE=1" in env
    assert ("WORKDIR", "/app") in final_stage(image)
    assert not [arguments for name, arguments in final_stage(image) if name == "VOLUME"]


@every
def test_the_settings_hold_no_secret(image: Image) -> None:
    settings = [arguments for name, arguments in image.instructions() if name in ("ARG", "ENV")]
    assert not [item for item in settings if re.search("PASSWORD|SECRET|TOKEN|CREDENTIAL", item)]


@every
def test_the_command_is_a_list_and_starts_python_or_its_server(image: Image) -> None:
    (command,) = [arguments for name, arguments in final_stage(image) if name == "CMD"]
    assert json.loads(command)[:2] in (["python", "-m"], ["mlflow", "server"])
    assert not [arguments for name, arguments in final_stage(image) if name == "ENTRYPOINT"]


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """(image's name, container) of every container in the manifests that runs one of ours."""
    result = []

    def look(part: object) -> None:
        if isinstance(part, dict):
            image = part.get("image")
            if isinstance(image, str) and image.startswith("dev.local/coding-mcqa/"):
                result.append((image.rpartition("/")[2].partition(":")[0], part))
            for value in part.values():
                look(value)
        elif isinstance(part, list):
            for value in part:
                look(value)

    for folder in ("kserve", "knative", "deploy"):
        for parent, _, names in os.walk(ROOT / folder):
            for name in names:
                # Rendering makes folders of its own there, for a moment.
                if name.endswith(".yaml") and "/." not in parent:
                    for document in yaml.safe_load_all((Path(parent) / name).read_text()):
                        look(document)
    return result


def test_what_the_manifests_run_is_in_the_images() -> None:
    images = {image.name: image for image in IMAGES}
    checked = 0
    for name, container in manifests():
        command = [*container.get("command", ()), *container.get("args", ())]
        assert name in images, container
        for argument in command:
            if match := re.fullmatch(r"--source=((?:functions|models)/.+)", argument):
                assert is_copied(images[name], match[1]), f"{name} lacks {match[1]}"
                checked += 1
        if command[:2] == ["python", "-m"] and (
            command[2].split(".")[0] in ("predictor", "functions", "pipelines", "ui")
        ):
            path = command[2].replace(".", "/")
            assert is_copied(images[name], f"{path}.py") or is_copied(images[name], f"{path}/__main__.py"), command
            checked += 1
    assert checked >= 8


def is_copied(image: Image, path: str) -> bool:
    whole = ROOT / path
    return whole.exists() and any(whole == source or whole.is_relative_to(source) for source in image.copied())


def test_every_image_of_the_manifests_has_a_dockerfile() -> None:
    assert {name for name, _ in manifests()} <= {image.name for image in IMAGES}
    assert IMAGE.startswith("dev.local/coding-mcqa/pipelines:")


# The build context.


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves a file out: the last rule wins, and a rule for a folder is for what is in it."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not (rule := line.strip()) or rule.startswith("#"):
            continue
        keep, rule = rule.startswith("!"), rule.removeprefix("!")
        parts = Path(path).parts
        prefixes = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        names = rule.removeprefix("**/")
        hit = any(fnmatch.fnmatchcase(p, rule) and p.count("/") == rule.count("/") for p in prefixes)
        hit = hit or (rule.startswith("**/") and any(fnmatch.fnmatchcase(part, names) for part in parts))
        if hit:
            left_out = not keep
    return left_out


PRIVATE = [
    ".env", ".git/config", ".venv/bin/python", ".local/secrets.json", ".local-demo/x", ".cache/x", ".kube/config",
    "kubeconfig", "secret.yaml", "id_rsa", "predictor/.env", "functions/__pycache__/sink.cpython-311.pyc",
    "deploy/secrets.env", "deploy/production/secret.yaml", "tests/conftest.py", "docs/images.md", "scripts/setup",
    "tools/cli.py", "models/mine/model.safetensors", "build/images.digests", "coverage.xml", "local/kube/app.py",
]  # fmt: skip


@pytest.mark.parametrize("path", PRIVATE)
def test_the_context_leaves_out(path: str) -> None:
    assert ignored(path)


def test_the_context_holds_what_is_copied() -> None:
    for image in IMAGES:
        for source in [*image.copied(), image.lock]:
            assert source.exists(), f"{image.name} copies {source}, which is not there"
            assert not ignored(str(source.relative_to(ROOT))), source
    mounted = {m for i in IMAGES for _, a in i.instructions() for m in re.findall(r"bind,source=([^,\s]+)", a)}
    assert mounted == {"scripts/images-packages", "scripts/images-bytecode", "scripts/images-base"}
    assert not [path for path in mounted if ignored(path)]


def test_minikubes_images_are_named_by_all_that_is_in_them() -> None:
    sources = {ROOT / source for source in IMAGE_SOURCES}
    mounted = {m for i in IMAGES for _, a in i.instructions() for m in re.findall(r"bind,source=([^,\s]+)", a)}
    for path in {*(path for image in IMAGES for path in [*image.copied(), image.lock]), *(ROOT / m for m in mounted)}:
        assert any(path == source or path.is_relative_to(source) for source in sources), path


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_parse(script: str) -> None:
    path = ROOT / "scripts" / script
    shell = path.read_text().splitlines()[0].rpartition("/")[2].split()[-1]
    subprocess.run([shell, "-n", str(path)], check=True, timeout=20)
    assert path.stat().st_mode & 0o111
