"""The Jenkinsfile: it parses, it is declarative, every command is the repository's own, no secret is in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_groovy
import yaml
from ci_commands import problem, verbs
from tool import TOOL
from tree_sitter import Language, Node, Parser

from tools.ci import jenkinsfile

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Jenkinsfile").read_text()
LINTER = ROOT / ".cache/groovy-lint/version"

# The grammar of Declarative Pipeline: what may stand in `pipeline` and in `stage`.
PIPELINE = {"agent", "environment", "libraries", "options", "parameters", "post", "stages", "tools", "triggers"}
STAGE = {
    "agent",
    "environment",
    "failFast",
    "input",
    "matrix",
    "options",
    "parallel",
    "post",
    "stages",
    "steps",
    "tools",
    "when",
}
POST = {
    "always",
    "changed",
    "fixed",
    "regression",
    "aborted",
    "failure",
    "success",
    "unstable",
    "unsuccessful",
    "cleanup",
}
STAGES = ["Lint", "Unit", "Integration", "Soak", "Model evaluation", "Images", "Staging", "Production"]


def parse(text: str) -> Node:
    text = re.sub(r"(?<!')''(?!')", "'_'", text)  # the grammar knows no empty string
    return Parser(Language(tree_sitter_groovy.language())).parse(text.encode()).root_node


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def text_of(node: Node | None) -> str:
    return "" if node is None else (node.text or b"").decode()


def blocks(text: str) -> dict[str, str]:
    """The direct blocks `name { … }` or `name('…') { … }` of a block's inside, by what stands before the brace."""
    result: dict[str, str] = {}
    code = re.sub(r"(?m)^\s*//.*$", "", text)
    depth = start = 0
    head = ""
    for position, sign in enumerate(code):
        if sign == "{":
            if depth == 0:
                head, start = code[:position].rstrip().rpartition("\n")[2].strip(), position + 1
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                result[head] = code[start:position]
    return result


def stages(inside: str) -> dict[str, str]:
    """Name and inside of each stage of a `stages` or `parallel` block."""
    result = {}
    for head, body in blocks(inside).items():
        match = re.fullmatch(r"stage\('([^']+)'\)", head)
        assert match, f"{head!r} is no stage"
        result[match[1]] = body
    return result


def steps(inside: str) -> dict[str, str]:
    """Name and inside of each stage of a `stages` block that does something itself, also those within another."""
    result = {}
    for name, body in stages(inside).items():
        inner = blocks(body).get("parallel") or blocks(body).get("stages")
        result.update(steps(inner) if inner else {name: body})
    return result


def pipeline() -> dict[str, str]:
    return blocks(blocks(TEXT)["pipeline"])


def test_it_is_groovy() -> None:
    broken = [text_of(node)[:60] for node in walk(parse(TEXT)) if node.type == "ERROR" or node.is_missing]
    assert not broken


@pytest.mark.parametrize(
    "damage", [("pipeline {", "pipeline {{"), ("sh 'make lint'", "sh 'make lint"), ("steps {", "steps {)")]
)
def test_damage_would_be_seen(damage: tuple[str, str]) -> None:
    assert parse(TEXT.replace(*damage, 1)).has_error


def test_it_is_declarative() -> None:
    top = pipeline()
    assert set(top) <= PIPELINE
    assert {"options", "parameters", "post", "stages", "triggers"} <= set(top)
    assert re.search(r"(?m)^    agent none$", TEXT)
    assert set(blocks(top["post"])) <= POST
    for name, inside in {**stages(top["stages"]), **steps(top["stages"])}.items():
        assert set(blocks(inside)) <= STAGE, name
        assert len({"steps", "parallel", "stages", "matrix"} & set(blocks(inside))) == 1, name
    assert all("steps" in blocks(inside) for inside in steps(top["stages"]).values())


def test_the_stages_and_their_order() -> None:
    top = stages(pipeline()["stages"])
    assert list(top) == STAGES
    assert len(stages(blocks(top["Unit"])["parallel"])) > 1
    inner = re.findall(r"stage\('(\w[\w ]*)'\)", top["Images"] + top["Staging"])
    assert inner == ["Build", "Scan", "Push", "Deploy", "Smoke test"]
    assert list(stages(blocks(top["Production"])["stages"])) == ["Approval", "Canary"]


def test_every_stage_ends_by_itself() -> None:
    result = steps(pipeline()["stages"])
    assert len(result) > len(STAGES)
    for name, inside in result.items():
        assert re.search(r"timeout\(time: \d+, unit: '(MINUTES|HOURS)'\)", blocks(inside).get("options", "")), name
    assert re.search(r"timeout\(time: \d+, unit: 'HOURS'\)", pipeline()["options"])


def test_every_bad_end_is_told() -> None:
    """A timeout ends a build as aborted, not as failed."""
    post = blocks(pipeline()["post"])
    assert set(post) == {"failure", "aborted", "fixed"}
    assert all(re.search(r"tell\('\w+', '[\w ]+'\)", inside) for inside in post.values())


def test_safe_defaults() -> None:
    options, parameters, top = pipeline()["options"], pipeline()["parameters"], stages(pipeline()["stages"])
    assert "disableConcurrentBuilds()" in options
    assert "buildDiscarder(" in options
    assert "booleanParam(name: 'PRODUCTION', defaultValue: false" in parameters
    for name in ("REGISTRY", "STAGING_URL", "MODEL_VERSION", "MLFLOW_TRACKING_URI", "SLACK_CHANNEL", "MAIL_TO"):
        assert f"string(name: '{name}', defaultValue: ''" in parameters
    for name in ("Staging", "Production"):
        assert "branch 'main'" in blocks(top[name])["when"]
    assert "params.PRODUCTION" in blocks(top["Production"])["when"]
    approval, _ = stages(blocks(top["Production"])["stages"]).values()
    assert "submitter" in blocks(approval)["input"]


def test_triggers() -> None:
    triggers = pipeline()["triggers"]
    assert "githubPush()" in triggers
    assert "cron(" in triggers


def commands(text: str) -> list[str]:
    """The argument of every `sh`; AssertionError where it is no plain literal: Groovy could put a secret in."""
    result = []
    for match in re.finditer(r"\bsh\b(?!')\s*(\(?[^\n]*)", re.sub(r"(?m)//.*$", "", text)):
        literal = re.fullmatch(r"'([^'\\]*)'", match[1].strip())
        assert literal, f"sh {match[1]}: must be one single-quoted string"
        result.append(literal[1])
    return result


def test_every_command_is_a_verb_or_a_script() -> None:
    result = commands(TEXT)
    assert len(result) >= 14
    assert {command: why for command in result if (why := problem(command))} == {}
    assert not re.search(r"\b(bat|powershell|pwsh)\b", TEXT)


@pytest.mark.parametrize(
    "command",
    [
        "curl https://example.com",
        "make nothing-of-the-kind",
        "make lint && rm -rf /",
        "scripts/not-there",
        "scripts/tools",
        "scripts/tools nothing-of-the-kind",
        "make",
        "make lint test",
    ],
)
def test_another_command_would_be_seen(command: str) -> None:
    assert problem(command)


@pytest.mark.parametrize("line", ['sh "make lint $TOKEN"', "sh(script: 'make lint')", "sh '''make lint'''"])
def test_another_form_of_sh_would_be_seen(line: str) -> None:
    with pytest.raises(AssertionError):
        commands(line)


def test_the_scan_looks_for_vulnerabilities() -> None:
    (inside,) = re.findall(r"withEnv\(\['IMAGES_SCAN_VULNERABILITIES=require'\]\) \{([^}]*)\}", TEXT)
    assert commands(inside) == ["make images-scan"]
    assert commands(TEXT).count("make images-scan") == 1


def test_verbs_are_read_off_a_makefile() -> None:
    text = ".PHONY: ghost\ntest soak: export A ?= b\nlint: ## x\n\t@run\nboth: lint ## y\nP := z\nnone: ## w\n\n"
    assert verbs(text) == {"lint", "both"}


def test_secrets_come_from_the_credential_store_alone() -> None:
    named = set(re.findall(r"(?:credentialsId|tokenCredentialId): '([^']+)'", TEXT))
    assert named == {"coding-mcqa-registry", "coding-mcqa-staging", "coding-mcqa-mlflow", "coding-mcqa-slack"}
    documented = (ROOT / "docs/ci.md").read_text()
    assert all(f"`{name}`" in documented for name in named)
    assert "password(" not in TEXT  # a parameter of that kind is stored with the build


def test_the_pod_of_its_agents() -> None:
    pod = yaml.safe_load((ROOT / ".jenkins/agent.yaml").read_text())
    containers = {container["name"]: container for container in pod["spec"]["containers"]}
    assert set(re.findall(r"onAgent\('(\w+)'\)", TEXT)) == set(containers)
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers.values():
        assert not container["image"].endswith(":latest")
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert not container["securityContext"].get("privileged")
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    tools, images = (containers[name]["securityContext"] for name in ("tools", "images"))
    assert tools["allowPrivilegeEscalation"] is False
    assert tools["seccompProfile"] == {"type": "RuntimeDefault"}
    # podman's user namespace: newuidmap gains a capability from its file, and no profile may forbid unshare and mount.
    assert "allowPrivilegeEscalation" not in images
    assert images["capabilities"]["add"] == ["SETUID", "SETGID"]
    assert not [item for item in (pod["spec"]["securityContext"], images) if "seccompProfile" in item]


def test_the_image_of_its_agents() -> None:
    text = (ROOT / ".jenkins/Dockerfile").read_text()
    pinned = dict(line.split("=", 1) for line in (ROOT / "deploy/versions.env").read_text().splitlines() if "=" in line)
    assert re.findall(r"^ARG KUBECTL=(\S+)$", text, re.MULTILINE) == [pinned["KUBERNETES_VERSION"]]
    (node,) = re.findall(r"^ARG NODE=\S+/node:(\d+)\.\d+\.\d+-bookworm-slim$", text, re.MULTILINE)
    (base,) = re.findall(r"^ARG BASE=\S+/python:3\.11\.\d+-slim-(\w+)$", text, re.MULTILINE)
    assert base == "bookworm", "Node's image has the same C library"
    assert int(node) >= oldest_node()
    assert "fetch-trivy" in text
    for program in ("newuidmap", "newgidmap"):
        assert re.search(rf"chmod u-s .*/usr/bin/{program}", text)
        assert re.search(rf"setcap cap_set[ug]id=ep /usr/bin/{program}", text)


def oldest_node() -> int:
    return jenkinsfile.OLDEST_NODE


@pytest.mark.skipif(
    not LINTER.is_file(), reason="npm-groovy-lint is not installed: scripts/tools lint-jenkinsfile does it"
)
def test_the_linter_wants_that_node() -> None:
    package = json.loads((LINTER.parent / "node_modules/npm-groovy-lint/package.json").read_text())
    assert package["engines"]["node"] == f">={oldest_node()}.0.0"


@pytest.mark.skipif(
    not (LINTER.is_file() and shutil.which("java") and shutil.which("node")),
    reason="npm-groovy-lint is not installed: scripts/tools lint-jenkinsfile does it (Node, Java 17)",
)
@pytest.mark.usefixtures("processes")
def test_groovys_own_compiler_and_codenarc_accept_it() -> None:
    done = subprocess.run(
        [*TOOL, "lint-jenkinsfile"], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
