"""What the URI of a model version names."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictor.storage.errors import StorageError
from predictor.storage.uri import HubModel, LocalFolder, MlflowVersion, parse


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("models/tiny", LocalFolder(Path("models/tiny"))),
        ("/models/x", LocalFolder(Path("/models/x"))),
        ("~/x", LocalFolder(Path.home() / "x")),
        ("file:///models/a%20b", LocalFolder(Path("/models/a b"))),
        ("file://localhost/models/x", LocalFolder(Path("/models/x"))),
        ("mlflow://coding-mcqa/7", MlflowVersion("coding-mcqa", "7")),
        ("mlflow://coding%20mcqa/12/", MlflowVersion("coding mcqa", "12")),
        ("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct", HubModel("Qwen/Qwen2.5-Coder-1.5B-Instruct", None)),
        ("hf://owner/model@refs/pr/1", HubModel("owner/model", "refs/pr/1")),
        ("hf://owner/model:main", HubModel("owner/model", "main")),
        ("hf://owner/model:refs/pr/1", HubModel("owner/model", "refs/pr/1")),
        ("hf://Qwen/Qwen2.5-Coder-1.5B-Instruct:2e1fd397", HubModel("Qwen/Qwen2.5-Coder-1.5B-Instruct", "2e1fd397")),
        (" models/tiny\n", LocalFolder(Path("models/tiny"))),
    ],
)
def test_a_uri_names_its_source(uri: str, source: object) -> None:
    assert parse(uri) == source


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "write a local folder, mlflow://name/version or hf://owner/model[@revision]"),
        ("s3://bucket/x", "s3:// is not a known source: write a local folder, mlflow://"),
        ("https://example.org/m", "https:// is not a known source"),
        ("models:/coding-mcqa/7", "write mlflow://name/version"),
        ("models:/coding-mcqa@champion", "an alias, which moves"),
        ("models:/m-12ab", "write mlflow://name/version"),
        ("mlflow://coding-mcqa@champion", "'champion' is not a version number; versions never change but aliases"),
        ("mlflow://coding-mcqa/champion", "write mlflow://coding-mcqa/7"),
        ("mlflow://coding-mcqa/latest", "'latest' is not a version number"),
        ("mlflow://coding-mcqa/0", "'0' is not a version number"),
        ("mlflow://coding-mcqa/7/extra", "'7/extra' is not a version number"),
        ("mlflow://coding-mcqa", "as in mlflow://coding-mcqa/7"),
        ("mlflow:///7", "as in mlflow://coding-mcqa/7"),
        ("mlflow://../7", "is not a version number"),
        ("mlflow:coding-mcqa/7", "is not a version number"),
        ("hf://model", "write hf://owner/model"),
        ("hf://owner/model@", "write hf://owner/model"),
        ("hf://owner/model:", "write hf://owner/model"),
        ("hf://owner:main/model", "write hf://owner/model"),
        (
            "mlflow-artifacts:/1/models/m-12/artifacts",
            "a place in MLflow's artifact store; it is not a version: register it",
        ),
        ("mlflow-artifacts://127.0.0.1:5000/1/a", "write mlflow://name/version"),
        ("runs:/0123abcd/model", "an artifact of an MLflow run; it is not a version: register it"),
        ("dbfs:/models/x", "Databricks' file system; it is not a version"),
        ("s3:/bucket/x", "s3:// is not a known source"),
        ("gs://bucket/x", "gs:// is not a known source"),
        ("abfss://c@a.dfs.core.windows.net/x", "abfss:// is not a known source"),
        ("hf:owner/model", "write hf://owner/model"),
        ("file://models/x", "file:///models/x"),
    ],
)
def test_anything_else_is_refused_with_the_form_to_write(uri: str, says: str) -> None:
    with pytest.raises(StorageError) as error:
        parse(uri)
    assert says in str(error.value)
    assert str(error.value).startswith(uri)
    assert "\n" not in str(error.value)
