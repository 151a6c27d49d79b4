"""A question as requests that people can copy: curl, and Python without any package."""

from __future__ import annotations

import json
import shlex

from common.question import Question
from mcqa import client, defaults


def curl(address: str, question: Question, model_name: str = defaults.MODEL_NAME) -> str:
    body = json.dumps(_body(question), ensure_ascii=False, indent=2)
    return f"curl {shlex.quote(_url(address, model_name))} -H 'content-type: application/json' -d {shlex.quote(body)}"


def python(address: str, question: Question, model_name: str = defaults.MODEL_NAME) -> str:
    # Strings and lists only: what JSON writes is Python as well.
    body = json.dumps(_body(question), ensure_ascii=False, indent=4)
    return "\n".join([
        "import json",
        "from urllib.request import Request, urlopen",
        "",
        f"body = {body}",
        "request = Request(",
        f"    {json.dumps(_url(address, model_name))},",
        "    json.dumps(body).encode(),",
        '    {"content-type": "application/json"},',
        ")",
        "with urlopen(request) as response:",
        '    answer = json.load(response)["predictions"][0]',
        'print(answer["letter"], answer["choice"], answer["probabilities"])',
    ])  # fmt: skip


def _url(address: str, model_name: str) -> str:
    return f"{address}/v1/models/{model_name}:predict"


def _body(question: Question) -> dict[str, object]:
    return {"instances": [client.question_to_dict(question)]}
