"""The Secrets that the manifests name, with random values. What exists is kept; nothing is printed but names.

No value is ever an argument of a command: kubectl reads them from its standard input. Where Kubeflow's namespace is, it
is given `loop`, `registry` and `registry-pull` for the pipeline's steps, and no more.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping

from common.names import NAMESPACE
from tools import process
from tools.cluster.kubectl import Kubectl
from tools.errors import ToolError

KEYS: Mapping[str, tuple[str, ...]] = {
    "postgres": ("POSTGRES_PASSWORD", "LOOP_PASSWORD", "MLFLOW_PASSWORD", "UI_PASSWORD"),
    "mlflow": (
        "MLFLOW_BACKEND_STORE_URI", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY",
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    ),
    "loop": ("MCQA_DATABASE_URL",),
    "webhook": ("MCQA_WEBHOOK_SECRET",),
    "notify": ("MCQA_NOTIFY_URLS",),
    "mlflow-login": (
        "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
    ),
    "ui": ("MCQA_DATABASE_URL",),
    "ui-login": ("secrets.toml",),
    "registry": ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
}  # fmt: skip
"""The keys that each Secret may have. Rotating adds MCQA_WEBHOOK_SECRET_PREVIOUS to `webhook`."""
FOR_PIPELINE_STEPS = ("loop", "registry", "registry-pull")
HOST = f"postgres.{NAMESPACE}.svc.cluster.local:5432"
PAGE_LOGIN = ("UI_URL", "UI_LOGIN_METADATA_URL", "UI_LOGIN_CLIENT_ID", "UI_LOGIN_CLIENT_SECRET")
PASSWORD_BYTES, SECRET_BYTES = 24, 32


class Secrets:
    """The Secrets of the project's namespace in a cluster. `environ`: values that are given, not drawn."""

    def __init__(self, kubectl: Kubectl, kubeflow_namespace: str, environ: Mapping[str, str]) -> None:
        self._kubectl, self._kubeflow, self._environ = kubectl, kubeflow_namespace, environ

    def create(self) -> None:
        """Every Secret that is missing and can be made."""
        self._check_reachable()
        if not self._kubectl.succeeds("get", "namespace", NAMESPACE, "--output", "name"):
            self._kubectl.run("create", "namespace", NAMESPACE, "--save-config")
        loop_url, mlflow_url = self._database_urls()
        encryption_key = base64.urlsafe_b64encode(os.urandom(32)).decode()  # a Fernet key
        self._create_missing(
            "mlflow",
            {
                "MLFLOW_BACKEND_STORE_URI": mlflow_url,
                "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": encryption_key,
                **self._given("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            },
        )
        self._create_missing("loop", {"MCQA_DATABASE_URL": loop_url})
        self._create_missing("webhook", {"MCQA_WEBHOOK_SECRET": secrets.token_hex(SECRET_BYTES)})
        self._create_missing("ui", {"MCQA_DATABASE_URL": self._page_database_url(loop_url)})
        # Only where there is something to keep: nothing requires these.
        urls = self._environ.get("NOTIFY_URLS", "")
        self._create_missing("notify", {"MCQA_NOTIFY_URLS": urls} if urls else {})
        self._create_missing("ui-login", self._page_login())
        credentials = self._login() or self._given(*KEYS["registry"])
        named = {"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"} & credentials.keys()
        self._create_missing("registry", credentials if named else {})
        self._copy_to_kubeflow()

    def copy(self) -> None:
        """Makes none, and gives Kubeflow's namespace those that are there."""
        self._check_reachable()
        self._copy_to_kubeflow()

    def rotate_webhook(self) -> None:
        """Another secret for MLflow's webhooks; the previous one stays valid."""
        self._check_reachable()
        current = self._data("webhook")
        if current is None:
            raise ToolError(f"there is no Secret webhook in {NAMESPACE}: make secrets makes it")
        fresh = base64.b64encode(secrets.token_hex(SECRET_BYTES).encode()).decode()
        previous = current["MCQA_WEBHOOK_SECRET"]
        patch = {"data": {"MCQA_WEBHOOK_SECRET": fresh, "MCQA_WEBHOOK_SECRET_PREVIOUS": previous}}
        words = ("patch", "secret", "webhook", "--namespace", NAMESPACE, "--type", "merge")
        self._kubectl.run(*words, "--patch-file", "/dev/stdin", text=json.dumps(patch))
        say(
            "webhook has another secret and keeps the previous one: make deploy passes them to MLflow and the rollout "
            "function"
        )

    def _check_reachable(self) -> None:
        completed = self._kubectl.attempt("get", "namespace", "default", "--output", "name")
        if completed.returncode:
            raise ToolError(f"the cluster does not answer: {process.last_line(completed.stderr)}")

    def _database_urls(self) -> tuple[str, str]:
        """Of the loop and of MLflow: those that are given, or of the PostgreSQL of deploy/minikube."""
        loop_url, mlflow_url = (self._environ.get(name) for name in ("LOOP_DATABASE_URL", "MLFLOW_DATABASE_URL"))
        if loop_url and mlflow_url:
            # What is kept here would otherwise silently continue with another database.
            if self._differs("loop", "MCQA_DATABASE_URL", loop_url) or self._differs(
                "mlflow", "MLFLOW_BACKEND_STORE_URI", mlflow_url
            ):
                raise ToolError(
                    f"the Secrets loop and mlflow of {NAMESPACE} name another database than LOOP_DATABASE_URL and "
                    "MLFLOW_DATABASE_URL, and nothing was changed: delete both Secrets where nothing is stored yet, or "
                    "move the data and change their keys (docs/cluster.md, Secrets)"
                )
            return loop_url, mlflow_url
        if loop_url or mlflow_url:
            raise ToolError("set both LOOP_DATABASE_URL and MLFLOW_DATABASE_URL, or neither", exit_code=2)
        self._create_missing("postgres", {key: secrets.token_hex(PASSWORD_BYTES) for key in KEYS["postgres"]})
        loop_password, mlflow_password = (self._value("postgres", f"{name}_PASSWORD") for name in ("LOOP", "MLFLOW"))
        return (
            f"postgresql://loop:{loop_password}@{HOST}/loop",
            f"postgresql+psycopg://mlflow:{mlflow_password}@{HOST}/mlflow",
        )

    def _page_database_url(self, loop_url: str) -> str:
        """Of the page's own role: the one that is given, or of the PostgreSQL of deploy/minikube; else the loop's."""
        if given := self._environ.get("UI_DATABASE_URL"):
            return given
        has_own = not self._environ.get("LOOP_DATABASE_URL") and "UI_PASSWORD" in (self._data("postgres") or {})
        if has_own:
            return f"postgresql://loop_ui:{self._value('postgres', 'UI_PASSWORD')}@{HOST}/loop"
        if self._data("ui") is None:
            say("ui gets the loop's own role in the database: UI_DATABASE_URL names one that may do less")
        return loop_url

    def _page_login(self) -> dict[str, str]:
        """What Streamlit's st.login reads; empty where nothing is given."""
        given = self._given(*PAGE_LOGIN)
        if not given:
            return {}
        if missing := [name for name in PAGE_LOGIN if name not in given]:
            raise ToolError(f"for the page's sign-in set {', '.join(missing)}, too", exit_code=2)
        url, metadata, client, secret = (given[name] for name in PAGE_LOGIN)
        values = {
            "redirect_uri": f"{url.rstrip('/')}/oauth2callback",
            "cookie_secret": secrets.token_hex(SECRET_BYTES),
            "client_id": client,
            "client_secret": secret,
            "server_metadata_url": metadata,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        return {"secrets.toml": "\n".join(["[auth]", *lines, ""])}

    def _login(self) -> dict[str, str]:
        """MLflow's own login, as its clients use it; empty where it has none."""
        if self._environ.get("MLFLOW_LOGIN") and self._data("mlflow-login") is None and self._data("registry"):
            raise ToolError(
                f"Secret registry is in {NAMESPACE}, and not with MLflow's own login: delete it, and call this again"
            )
        login = {
            "MLFLOW_AUTH_ADMIN_USERNAME": "loop",
            "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_hex(PASSWORD_BYTES),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(SECRET_BYTES),
        }
        if not self._create_missing("mlflow-login", login if self._environ.get("MLFLOW_LOGIN") else {}):
            return {}
        return {
            "MLFLOW_TRACKING_USERNAME": self._value("mlflow-login", "MLFLOW_AUTH_ADMIN_USERNAME"),
            "MLFLOW_TRACKING_PASSWORD": self._value("mlflow-login", "MLFLOW_AUTH_ADMIN_PASSWORD"),
        }

    def _create_missing(self, name: str, values: Mapping[str, str]) -> bool:
        """Makes the Secret where it is missing and there are values; whether it is there now."""
        if self._data(name) is not None:
            say(f"{name} is there and is kept")
            return True
        if not values:
            return False
        if unknown := values.keys() - set(KEYS[name]):
            raise ValueError(f"Secret {name} has no keys {sorted(unknown)}")
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}
        self._kubectl.run("create", "--namespace", NAMESPACE, "--filename", "-", text=json.dumps(manifest))
        say(f"{name} made in {NAMESPACE}")
        return True

    def _copy_to_kubeflow(self) -> None:
        """Written each time: they must follow those here."""
        if not self._kubectl.succeeds("get", "namespace", self._kubeflow, "--output", "name"):
            if self._kubeflow != "kubeflow":
                raise ToolError(
                    f"there is no namespace {self._kubeflow} (KUBEFLOW_NAMESPACE), so the pipeline's steps were given "
                    "nothing"
                )
            return
        for name in FOR_PIPELINE_STEPS:
            secret = self._kubectl.find("secret", name, "--namespace", NAMESPACE)
            if secret is None:
                continue
            copy = {key: secret[key] for key in ("apiVersion", "kind", "type", "data") if key in secret}
            manifest = json.dumps({**copy, "metadata": {"name": name}})
            self._kubectl.run("apply", "--namespace", self._kubeflow, "--filename", "-", text=manifest)
            say(f"{name} written in {self._kubeflow}")

    def _given(self, *names: str) -> dict[str, str]:
        return {name: value for name in names if (value := self._environ.get(name))}

    def _data(self, name: str) -> dict[str, str] | None:
        """The Secret's values in base64; None where there is no such Secret."""
        secret = self._kubectl.find("secret", name, "--namespace", NAMESPACE)
        return None if secret is None else dict(secret.get("data") or {})

    def _value(self, name: str, key: str) -> str:
        return base64.b64decode((self._data(name) or {})[key]).decode()

    def _differs(self, name: str, key: str, value: str) -> bool:
        """Whether the Secret is there with another value."""
        return self._data(name) is not None and self._value(name, key) != value


def say(message: str) -> None:
    print(f"secrets: {message}", flush=True)
