"""kubectl and KServeClient change what live traffic meets: the real API, the real gateway, real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "serving"))

from serving_cases import Platform, inference_service, settings

from local.kube.server import ApiServer
from local.serving.controller import ServingController

pytestmark = pytest.mark.usefixtures("processes")

NAME = "m"


@pytest.fixture
async def platform(tmp_path: Path, processes: None) -> AsyncIterator[Any]:
    api = ApiServer(tmp_path, 0)
    api.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    served = asyncio.create_task(api.serve())
    async with (
        ServingController(api.store, settings(tmp_path), lambda uri: Path(uri)) as serving,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
    ):
        yield Platform(api.store, serving, session, tmp_path)
    api.should_exit = True
    await served
    api.store.close()


@pytest.fixture
def kubectl(platform: Any, processes: None) -> Any:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    environment = {"KUBECONFIG": str(platform.folder / "kubeconfig"), "HOME": str(platform.folder)}

    async def run(*arguments: Any, stdin: Any = None) -> Any:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            env={**environment, "PATH": os.environ["PATH"]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(json.dumps(stdin).encode() if stdin else None)
        assert process.returncode == 0, err.decode()
        return out.decode()

    return run


async def answers(platform: Any, count: int) -> Counter[str]:
    """How many of `count` requests each version answered; every one must be answered."""
    semaphore, by_version = asyncio.Semaphore(48), Counter[str]()

    async def ask() -> None:
        async with semaphore:
            status, body = await platform.get(NAME)
            assert status == 200
            by_version[body["version"]] += 1

    await asyncio.gather(*(ask() for _ in range(count)))
    return by_version


def traffic(platform: Any) -> Any:
    part = platform.store.get("InferenceService", NAME)["status"]["components"]["predictor"]
    return {target["revisionName"][-1]: target["percent"] for target in part["traffic"]}


async def test_kubectl_patch_moves_live_traffic(platform: Any, kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", stdin=inference_service(NAME))
    await kubectl("wait", "--for=condition=Ready", "isvc", NAME, "--timeout=60s")
    assert await answers(platform, 50) == {"1": 50}
    second = inference_service(NAME, "2", canaryTrafficPercent=10)
    await kubectl("apply", "-f", "-", stdin=second)
    await platform.until(lambda: traffic(platform) == {"2": 10, "1": 90})
    for percent in (10, 35):
        patch = json.dumps({"spec": {"predictor": {"canaryTrafficPercent": percent}}})
        await kubectl("patch", "isvc", NAME, "--type=merge", "-p", patch)
        await platform.until(lambda wanted=percent: traffic(platform).get("2") == wanted)
        by_version = await answers(platform, 10_000 if percent == 10 else 2_000)
        low, high = binom.interval(0.999, by_version.total(), percent / 100)
        assert low <= by_version["2"] <= high, by_version
    shown = await kubectl("get", "isvc", NAME)
    assert "True" in shown
    assert f"{NAME}-predictor-00002" in shown
    described = await kubectl("describe", "isvc", NAME)
    assert "Canary Traffic Percent:  35" in described
    assert f"service.serving.knative.dev/{NAME}-predictor" in await kubectl("get", "ksvc", "-o", "name")
    await kubectl("patch", "isvc", NAME, "--type=merge", "-p", '{"spec":{"predictor":{"canaryTrafficPercent":null}}}')
    await platform.until(lambda: traffic(platform) == {"2": 100})
    assert await answers(platform, 200) == {"2": 200}
    await kubectl("delete", "isvc", NAME)
    await platform.until(lambda: not platform.serving.status())
    status, _ = await platform.get(NAME)
    assert status == 404


def typed(item: Any) -> Any:
    """The object as KServe's client wants it."""
    from kserve import V1beta1InferenceService, V1beta1InferenceServiceSpec, V1beta1PredictorSpec
    from kubernetes.client import V1Container, V1EnvVar, V1ObjectMeta

    (container,) = item["spec"]["predictor"]["containers"]
    predictor = V1beta1PredictorSpec(
        min_replicas=1,
        canary_traffic_percent=item["spec"]["predictor"].get("canaryTrafficPercent"),
        containers=[V1Container(**{**container, "env": [V1EnvVar(**variable) for variable in container["env"]]})],
    )
    return V1beta1InferenceService(
        api_version=item["apiVersion"],
        kind=item["kind"],
        metadata=V1ObjectMeta(name=NAME, namespace="default"),
        spec=V1beta1InferenceServiceSpec(predictor=predictor),
    )


async def test_kserve_client_rolls_out(platform: Any) -> None:
    pytest.importorskip("kserve", reason="the KServe SDK is not installed")
    from kserve import KServeClient

    client = await asyncio.to_thread(lambda: KServeClient(config_file=str(platform.folder / "kubeconfig")))
    first = typed(inference_service(NAME))
    await asyncio.to_thread(client.create, first, namespace="default")
    await asyncio.to_thread(client.wait_isvc_ready, NAME, namespace="default", timeout_seconds=60)
    assert await answers(platform, 20) == {"1": 20}
    second = typed(inference_service(NAME, "2", canaryTrafficPercent=50))
    await asyncio.to_thread(client.patch, NAME, second, namespace="default")
    await platform.until(lambda: traffic(platform) == {"2": 50, "1": 50})
    assert set(await answers(platform, 200)) == {"1", "2"}
    stored = await asyncio.to_thread(client.get, NAME, namespace="default")
    assert stored["status"]["components"]["predictor"]["latestReadyRevision"] == f"{NAME}-predictor-00002"
    await asyncio.to_thread(client.delete, NAME, namespace="default")
