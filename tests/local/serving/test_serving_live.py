"""Serving with real processes: traffic, scaling, healing, payload events, taking over."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from scipy.stats import binom
from serving_cases import KNATIVE, ROOT, Platform, StoreView, inference_service, knative_service, settings

from local.broker.http_binding import read_events
from local.kube.store import ResourceStore
from local.serving.controller import ServingController

pytestmark = pytest.mark.usefixtures("processes")

ISVC = "InferenceService"


def change(
    platform: Platform, name: str, version: str | None = None, percent: int | None = 0, **predictor: Any
) -> None:
    patch = {"canaryTrafficPercent": percent, **predictor}
    if version:
        patch["containers"] = inference_service(name, version)["spec"]["predictor"]["containers"]
    platform.store.patch(ISVC, name, {"spec": {"predictor": patch}})


async def test_canary_splits_moves_and_rolls_back(platform: Platform) -> None:
    platform.store.create(inference_service("m"))
    await platform.up(ISVC, "m")
    change(platform, "m", "2", 10)
    await platform.until(lambda: "00002" in str(platform.store.get(ISVC, "m")["status"]) and platform.ready(ISVC, "m"))
    part = platform.store.get(ISVC, "m")["status"]["components"]["predictor"]
    assert part["latestReadyRevision"] == "m-predictor-00002"
    assert part["latestRolledoutRevision"] == "m-predictor-00001"
    assert [(t["percent"], t.get("tag")) for t in part["traffic"]] == [(10, "latest"), (90, "prev")]
    for percent in (10, 25):
        change(platform, "m", percent=percent)
        await platform.up(ISVC, "m")
        counts = {"1": 0, "2": 0}
        for _ in range(40):
            for status, reply in await asyncio.gather(*(platform.get("m") for _ in range(50))):
                assert status == 200
                counts[reply["version"]] += 1
        low, high = binom.interval(0.999, 2000, percent / 100)
        assert low <= counts["2"] <= high, counts
    for host, version in (("latest-m", "2"), ("prev-m", "1"), ("prev-m-predictor", "1")):
        assert (await platform.get(host))[1]["version"] == version
    change(platform, "m", percent=0)
    await platform.up(ISVC, "m")
    assert {(await platform.get("m"))[1]["version"] for _ in range(50)} == {"1"}
    change(platform, "m", percent=None)  # a JSON null: promoted
    await platform.up(ISVC, "m")
    assert {(await platform.get("m"))[1]["version"] for _ in range(20)} == {"2"}
    part = platform.store.get(ISVC, "m")["status"]["components"]["predictor"]
    assert (part["latestRolledoutRevision"], part["previousRolledoutRevision"]) == (
        "m-predictor-00002",
        "m-predictor-00001",
    )


async def test_a_bad_revision_never_gets_traffic(platform: Platform) -> None:
    platform.store.create(knative_service("f", VERSION="1"))
    await platform.up(KNATIVE, "f")
    bad = knative_service("f", VERSION="2", FAIL="1")["spec"]
    platform.store.patch(KNATIVE, "f", {"spec": bad})
    seen = []

    def failed() -> bool:
        return platform.ready(KNATIVE, "f", "False")

    while not failed():
        seen.append(await platform.get("f"))
        await asyncio.sleep(0.02)
    seen += [await platform.get("f") for _ in range(20)]
    assert {(status, reported["version"]) for status, reported in seen} == {(200, "1")}
    item = platform.store.get(KNATIVE, "f")["status"]
    assert (item["latestCreatedRevisionName"], item["latestReadyRevisionName"]) == ("f-00002", "f-00001")
    ready = next(c for c in item["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "RevisionFailed"
    message = 'Revision "f-00002" failed with message: Container failed with: the model is broken'
    assert ready["message"].startswith(message)
    healthy = {c["type"]: c for c in platform.store.get("Revision", "f-00002")["status"]["conditions"]}
    assert healthy["ContainerHealthy"]["reason"] == "ExitCode3"
    assert any(event["reason"] == "RevisionFailed" for event in platform.store.list("Event").items)


async def test_an_inference_service_waits_for_its_runtime(platform: Platform) -> None:
    isvc = inference_service("r")
    container = isvc["spec"]["predictor"].pop("containers")[0]
    folder = str(platform.folder / "model")
    isvc["spec"]["predictor"] |= {"model": {"modelFormat": {"name": "fmt"}, "storageUri": f"file://{folder}"}}
    platform.store.create(isvc)
    waiting = (await platform.until(lambda: platform.store.get(ISVC, "r").get("status")))["modelStatus"]
    assert waiting["transitionStatus"] == "InvalidSpec"
    assert waiting["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
    assert any(event["reason"] == "InternalError" for event in platform.store.list("Event").items)
    formats = [{"name": "fmt", "autoSelect": True}]
    spec = {"containers": [container], "supportedModelFormats": formats}
    runtime = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "rt"}}
    platform.store.create({**runtime, "spec": spec})
    await platform.up(ISVC, "r")
    status, reply = await platform.get("r")
    assert (status, reply["argv"]) == (200, ["--model_name=r", f"--model_dir={folder}"])
    actual = platform.store.get(ISVC, "r")["status"]
    assert actual["url"] == f"http://r-predictor.default.localhost:{platform.serving.port}"
    assert actual["address"]["url"] == "http://r-predictor.default.svc.cluster.local"
    assert (actual["deploymentMode"], actual["servingRuntimeName"]) == ("Knative", "rt")
    model = actual["modelStatus"]
    assert (model["transitionStatus"], model["copies"]) == ("UpToDate", {"failedCopies": 0, "totalCopies": 1})
    assert model["lastFailureInfo"]["reason"] == "NoSupportingRuntime", "it stays after a recovery"
    platform.store.delete(ISVC, "r")
    await platform.until(lambda: not platform.store.list("Revision").items and not platform.serving.status())


async def test_a_model_that_is_late_is_waited_for(tmp_path: Path) -> None:
    store, tries = ResourceStore(tmp_path / "kube.sqlite"), []

    def resolve(uri: str) -> Path:
        tries.append(uri)
        if len(tries) < 7:
            raise OSError("the registry does not answer")
        return tmp_path

    isvc = inference_service("late")
    isvc["spec"]["predictor"]["annotations"] = {
        "internal.serving.kserve.io/storage-initializer-sourceuri": "mlflow://late/1"
    }
    store.create(isvc)
    async with ServingController(store, settings(tmp_path, first_backoff=0.001), resolve):
        platform = StoreView(store)
        await platform.up(ISVC, "late")
    assert len(tries) == 7
    store.close()


async def test_scales_to_zero_and_buffers_from_zero(platform: Platform) -> None:
    platform.store.create(knative_service("z", {"window": "1s"}, DELAY="0.3"))
    await platform.up(KNATIVE, "z")
    key = ("default", "z-00001")
    await platform.until(lambda: not platform.serving.pids(*key))
    assert platform.ready(KNATIVE, "z"), "at zero it is still ready"
    answers = await asyncio.gather(*(platform.get("z", "/", "POST", data=str(n)) for n in range(30)))
    assert [reported["body"] for _, reported in answers] == [str(n) for n in range(30)]
    assert len({reported["pid"] for _, reported in answers}) == 1


async def test_busy_replicas_get_company_up_to_max_scale(platform: Platform) -> None:
    service = knative_service("b", {"max-scale": "2", "window": "2s"})
    service["spec"]["template"]["spec"]["containerConcurrency"] = 1
    platform.store.create(service)
    await platform.up(KNATIVE, "b")
    answers = await asyncio.gather(*(platform.get("b", "/slow=0.3") for _ in range(16)))
    assert {status for status, _ in answers} == {200}
    assert len({data["pid"] for _, data in answers}) == 2


async def test_stopping_loses_no_request(platform: Platform) -> None:
    platform.store.create(knative_service("g", {"min-scale": "1"}, VERSION="1"))
    await platform.up(KNATIVE, "g")
    old = platform.serving.pids("default", "g-00001")[0]
    slow = [asyncio.create_task(platform.get("g", "/slow=1.0")) for _ in range(8)]
    await asyncio.sleep(0.3)
    os.kill(old, 0)
    platform.store.delete(KNATIVE, "g")
    answers = await asyncio.gather(*slow)
    assert {(status, data["pid"]) for status, data in answers} == {(200, old)}
    await platform.until(lambda: not Path(f"/proc/{old}").exists())
    assert (await platform.get("g"))[0] == 404


async def test_a_new_revision_takes_over_without_a_lost_request(platform: Platform) -> None:
    platform.store.create(knative_service("n", {"window": "1s"}, VERSION="1"))
    await platform.up(KNATIVE, "n")
    done, answers = asyncio.Event(), []

    async def ask() -> None:
        while not done.is_set():
            answers.append(await platform.get("n", "/slow=0.02"))

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    platform.store.patch(KNATIVE, "n", {"spec": knative_service("n", {"window": "1s"}, VERSION="2")["spec"]})
    await platform.until(lambda: platform.ready(KNATIVE, "n") and answers and answers[-1][1]["version"] == "2")
    await platform.until(lambda: not platform.serving.pids("default", "n-00001"))
    done.set()
    await asyncio.gather(*asking)
    assert {status for status, _ in answers} == {200}


async def test_a_killed_workload_is_healed(platform: Platform) -> None:
    platform.store.create(knative_service("k", {"min-scale": "1"}))
    await platform.up(KNATIVE, "k")
    first = (await platform.get("k"))[1]["pid"]
    os.killpg(first, signal.SIGKILL)
    # A request on a connection that the kill broke may get 502, as on a cluster; from then on they are buffered.
    answers = [await platform.get("k") for _ in range(5)]
    assert {status for status, _ in answers[1:]} == {200}
    assert answers[0][0] in (200, 502)
    assert {reported["revision"] for _, reported in answers[1:]} == {"k-00001"}
    assert first not in {reported["pid"] for _, reported in answers[1:]}


async def test_the_proxy_is_transparent(platform: Platform) -> None:
    platform.store.create(knative_service("p"))
    await platform.up(KNATIVE, "p")
    trace = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "tracestate": "a=b"}
    hop = {"connection": "x-private", "x-private": "1", "te": "trailers", "x-kept": "2"}
    status, reply = await platform.get("p", "/a%2Fb?q=%20", "POST", data=b"x" * 300_000, headers={**trace, **hop})
    headers = {name.lower(): value for name, value in reply["headers"].items()}
    assert (status, reply["path"], len(reply["body"])) == (200, "/a%2Fb?q=%20", 300_000)
    assert {name: headers.get(name) for name in trace} == trace
    assert headers["host"] == "p.default.localhost"
    assert headers["x-kept"] == "2"
    assert not {"x-private", "te"} & set(headers)
    assert (await platform.get("p", "/status/418"))[0] == 418
    assert (await platform.get("nobody"))[0] == 404
    url = f"http://127.0.0.1:{platform.serving.port}/"
    async with platform.session.get(url, headers={"host": "p.default.evil.example"}) as answer:
        assert answer.status == 404
    seen = platform.folder / "seen"
    async with platform.session.get(f"{url}stream?={seen}", headers={"host": "p.default.svc.cluster.local"}) as answer:
        assert await answer.content.readexactly(3) == b"one", "the workload sends the rest once this has arrived"
        seen.touch()
        assert await answer.content.read() == b"two"


async def test_waiting_is_bounded_in_number_and_time(tmp_path: Path) -> None:
    store, hold = ResourceStore(tmp_path / "kube.sqlite"), tmp_path / "hold"
    service = knative_service("w", {"window": "1s"}, HOLD=str(hold))
    service["spec"]["template"]["spec"]["timeoutSeconds"] = 1
    store.create(service)
    async with (
        ServingController(store, settings(tmp_path, queue_size=2), Path) as serving,
        aiohttp.ClientSession() as session,
    ):
        platform = Platform(store, serving, session, tmp_path)
        await platform.up(KNATIVE, "w")
        await platform.until(lambda: not serving.pids("default", "w-00001"))
        hold.touch()
        answers = await asyncio.gather(*(platform.get("w") for _ in range(5)))
        assert sorted(status for status, _ in answers) == [503, 503, 503, 504, 504]
        assert {reported["error"] for status, reported in answers if status == 504} == {
            "revision w-00001 had no replica ready in 1 s"
        }
        hold.unlink()
        await platform.until(lambda: serving.status()["default", "w-00001"].actual == 1)
        assert (await platform.get("w"))[0] == 200
    store.close()


async def test_payload_events_reach_a_real_sink(platform: Platform) -> None:
    events = []

    async def take(request: web.Request) -> web.Response:
        events.append((list(request.raw_headers), await request.read()))
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/coding-mcqa/default", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/coding-mcqa/default"
    logger = {"mode": "all", "url": url, "metadataAnnotations": ["coding-mcqa/model-version"]}
    platform.store.create(inference_service("l", logger=logger, annotations={"coding-mcqa/model-version": "7"}))
    await platform.up(ISVC, "l")
    status, reply = await platform.get(
        "l", "/v1", "POST", data=b'{"q": 1}', headers={"content-type": "application/json"}
    )
    assert status == 200
    assert (await platform.get("l", "/status/400", "POST", data=b"bad", headers={"ce-id": "mine"}))[0] == 400
    await platform.until(lambda: len(events) == 3)
    read_back = [read_events([(name.lower(), value) for name, value in headers], body)[0] for headers, body in events]
    by_id: dict[str, dict[str, Any]] = {}
    for event, (headers, body) in zip(read_back, events, strict=True):
        plain = {name.lower().decode(): value.decode() for name, value in headers}
        by_id.setdefault(plain["ce-id"], {})[plain["ce-type"].rpartition(".")[2]] = (event, plain, body)
    assert set(by_id.pop("mine")) == {"request"}
    (pair,) = by_id.values()
    for kind in ("request", "response"):
        _, plain, body = pair[kind]
        own = {name: value for name, value in plain.items() if name.startswith("ce-")}
        assert own.pop("ce-id") == pair["request"][1]["ce-id"]
        assert datetime.fromisoformat(own.pop("ce-time")) <= datetime.fromisoformat(own.pop("ce-recordedtime"))
        assert own == {
            "ce-specversion": "1.0",
            "ce-source": "http://localhost:9081/",
            "ce-type": f"org.kubeflow.serving.inference.{kind}",
            "ce-inferenceservicename": "l",
            "ce-namespace": "default",
            "ce-component": "predictor",
            "ce-endpoint": "",
            "ce-metadata": "{}",
            "ce-annotations": '{"coding-mcqa/model-version":"7"}',
        }
        assert plain["content-type"] == "application/json"
    assert pair["request"][2] == b'{"q": 1}'
    assert json.loads(pair["response"][2]) == reply
    await runner.cleanup()
    assert (await platform.get("l", "/v1", "POST", data=b"{}"))[0] == 200, "a sink that is gone hurts nobody"


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], str(Path(sys.argv[2]).parents[1])]
import serving_cases
from typing import Any
from local.kube.store import ResourceStore
from local.serving.controller import ServingController

async def main():
    folder = Path(sys.argv[1])
    store = ResourceStore(folder / "kube.sqlite")
    async with ServingController(store, serving_cases.settings(folder), Path):
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_killed_supervisor_is_succeeded(tmp_path: Path) -> None:
    store = ResourceStore(tmp_path / "kube.sqlite")
    for name in ("stays", "goes"):
        store.create(knative_service(name, {"min-scale": "1"}))
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), here]
    supervisor = subprocess.Popen(command, cwd=ROOT)
    try:
        platform = StoreView(store)
        await platform.up(KNATIVE, "stays")
        await platform.up(KNATIVE, "goes")
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait(10)
    pods = {path.name[:4]: int(path.read_text()) for path in (tmp_path / "pods").glob("*.pid")}
    store.delete(KNATIVE, "goes")
    async with (
        ServingController(store, settings(tmp_path), Path) as serving,
        aiohttp.ClientSession() as session,
    ):
        restarted = Platform(store, serving, session, tmp_path)
        await restarted.until(lambda: serving.status().get(("default", "stays-00001")))
        await restarted.up(KNATIVE, "stays")
        await restarted.until(lambda: serving.status()["default", "stays-00001"].actual == 1)
        status, reported = await restarted.get("stays")
        assert (status, reported["pid"]) == (200, pods["stay"])
        await restarted.until(lambda: not _runs(pods["goes"]))
    await restarted.until(lambda: not _runs(pods["stay"]))
    assert list((tmp_path / "pods").glob("*")) == []
    store.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.timeout(180)
async def test_the_real_predictor_serves_the_tiny_model(tmp_path: Path) -> None:
    runtime = yaml.safe_load((ROOT / "kserve" / "serving-runtime.yaml").read_text())
    isvc = yaml.safe_load((ROOT / "kserve" / "inference-service.yaml").read_text())
    del isvc["spec"]["predictor"]["logger"]
    tiny = ROOT / "models" / "tiny"
    if not (tiny / "model.safetensors").exists():
        pytest.skip("models/tiny is not there")
    store, asked = ResourceStore(tmp_path / "kube.sqlite"), []

    def resolve(uri: str) -> Path:
        asked.append(uri)
        return tiny

    store.create(runtime)
    store.create(isvc)
    question = {"question": "Which keyword defines a function in Python?", "choices": ["def", "fun"]}
    async with (
        ServingController(store, settings(tmp_path), resolve) as serving,
        aiohttp.ClientSession() as session,
    ):
        platform = Platform(store, serving, session, tmp_path)
        await platform.until(lambda: platform.ready(ISVC, "coding-mcqa"), 120)
        path = "/v1/models/coding-mcqa:predict"
        status, reply = await platform.get("coding-mcqa", path, "POST", json={"instances": [question]})
        assert status == 200, reply
        assert "coding-mcqa-predictor-00001" in json.dumps(reply)
        for _ in range(3):  # a body that is packed, and then somebody else's request
            packed = gzip.compress(json.dumps({"instances": [question]}).encode())
            headers = {"content-encoding": "gzip", "content-type": "application/json"}
            status, _ = await platform.get("coding-mcqa", path, "POST", data=packed, headers=headers)
            assert status in (200, 415)
            assert (await platform.get("coding-mcqa", path, "POST", json={"instances": [question]}))[0] == 200
    assert set(asked) == {"mlflow://coding-mcqa/1"}
    store.close()
