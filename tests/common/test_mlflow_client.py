"""What the answers of a server mean to the client. Its calls are tested with real servers (predictor, pipelines)."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from common.errors import SettingError
from common.mlflow.client import ALREADY_EXISTS, NOT_FOUND, MlflowClient, MlflowError

URI = "http://ann:secret@mlflow.example:5000/base"


def client(*responses: httpx2.Response | Exception, **environ: str) -> MlflowClient:
    """A client whose server answers with these, in order."""
    queue = list(responses)

    def answer(request: httpx2.Request) -> httpx2.Response:
        response = queue.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    made = MlflowClient({"MLFLOW_TRACKING_URI": URI, **environ})
    made._http = httpx2.Client(base_url=URI, transport=httpx2.MockTransport(answer))
    return made


@pytest.mark.parametrize(
    ("response", "says", "facts"),
    [
        (httpx2.Response(404, json={"error_code": "GONE", "message": "no"}), "404 no", (404, "GONE", False, None)),
        (httpx2.Response(400, json={"error_code": ALREADY_EXISTS}), "400", (400, ALREADY_EXISTS, False, None)),
        (httpx2.Response(503, text="down"), "does not answer (503 down)", (503, "", True, None)),
        (httpx2.Response(503, text="--serve-artifacts"), "does not answer (503 --serve", (503, "", True, None)),
        (httpx2.Response(429, headers={"retry-after": "7"}), "does not answer (429 )", (429, "", True, 7.0)),
        (httpx2.Response(401, text="who?"), "refuses access (401 who?)", (401, "", False, None)),
        (httpx2.Response(302, headers={"location": "https://x/"}), "redirects to https://x/", (302, "", False, None)),
        (httpx2.Response(200, text="<html>"), "is not an MLflow server", (200, "", False, None)),
        (httpx2.ConnectError("refused"), "does not answer (ConnectError: refused)", (0, "", True, None)),
    ],
)
def test_a_refusal_has_its_facts_in_fields(response: Any, says: str, facts: tuple[Any, ...]) -> None:
    with pytest.raises(MlflowError) as raised:
        client(response).call("POST", "registered-models/create", name="m")
    error = raised.value
    assert (error.status, error.code, error.transient, error.retry_after) == facts
    assert says in str(error)
    assert "secret" not in str(error)
    assert "http://mlflow.example:5000/base" in str(error)


def test_what_does_not_exist_is_none() -> None:
    missing = httpx2.Response(404, json={"error_code": NOT_FOUND})
    assert client(missing).call("GET", "registered-models/get", name="m") is None
    with pytest.raises(MlflowError, match="404 nothing here"):  # a proxy's 404 says nothing about the model
        client(httpx2.Response(404, text="nothing here")).call("GET", "registered-models/get", name="m")


def test_a_text_that_quotes_the_code_decides_nothing() -> None:
    quoting = httpx2.Response(404, json={"error_code": "INTERNAL_ERROR", "message": f"{NOT_FOUND}: quoted"})
    with pytest.raises(MlflowError):
        client(quoting).call("GET", "registered-models/get", name="m")


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "databricks"])
def test_an_address_of_no_server(uri: str) -> None:
    with pytest.raises(SettingError, match="MLFLOW_TRACKING_URI"):
        MlflowClient({"MLFLOW_TRACKING_URI": uri})


def test_a_setting_that_is_not_a_number() -> None:
    with pytest.raises(SettingError, match="MLFLOW_HTTP_REQUEST_TIMEOUT"):
        client(MLFLOW_HTTP_REQUEST_TIMEOUT="soon")
