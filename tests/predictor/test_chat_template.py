"""A chat template is rendered as transformers renders it, and within bounds of time and memory whatever it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from predictor import chat_template
from predictor.chat_template import ChatTemplate
from predictor.errors import VersionError

ASK = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Hm?"}]
SIMPLE = "{% for m in messages %}<{{ m['role'] }}>{{ m.content }}{% if not loop.last %}, {% endif %}{% endfor %}"
# With what the published Qwen2.5 template does: assignments, filters, a loop in a loop, tools.
ELABORATE = (
    "{%- if tools %}{%- for tool in tools %}{{ tool | tojson }}{%- endfor %}{%- endif %}"
    "{%- for message in messages %}{%- set content = message.content | trim %}"
    "{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}"
    "{%- for call in message.tool_calls %}{%- set name = call.name %}{{ name }}{%- endfor %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def template(folder: Path, source: Any, **config: Any) -> ChatTemplate:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": source, **config}))
    return ChatTemplate(folder)


def refusal(folder: Path, source: str) -> str:
    with pytest.raises(VersionError) as refused:
        template(folder, source).render([ASK])
    message = str(refused.value)
    assert message.startswith(f"{folder}: the chat template ")
    assert "\n" not in message
    return message


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("source", [SIMPLE, ELABORATE])
def test_it_shows_what_transformers_shows(version: Path, source: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(version)
    expected = [
        reference.apply_chat_template(messages, chat_template=source, add_generation_prompt=True, tokenize=False)
        for messages in (ASK, ASK[1:])
    ]
    assert template(tmp_path, source).render([ASK, ASK[1:]]) == expected


def test_only_what_its_own_length_bounds_is_rendered_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def apart(*_: Any) -> list[str]:
        raise AssertionError("a process was started")

    monkeypatch.setattr(chat_template, "_render_in_process", apart)
    assert template(tmp_path, SIMPLE).render([ASK]) == ["<system>Answer., <user>Hm?"]
    shipped = json.loads((Path(__file__).parents[2] / "models/tiny/tokenizer_config.json").read_text())["chat_template"]
    assert template(tmp_path, shipped).render([ASK])[0].endswith("<|im_start|>assistant\n")
    for source in (
        ELABORATE,
        "{{ 'a' * 9 }}",
        "{{ 2 ** 9 }}",
        "{{ '%9d' % 1 }}",
        "{{ range(9) }}",
        "{{ 'a' | center(9) }}",
        "{% set a = 'a' ~ 'a' %}",
        "{% macro a() %}{% endmacro %}",
        "{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}",
        "{% for a in messages recursive %}{% endfor %}",
        "{{ messages[0].content.ljust(9) }}",
        "{% for a in messages %}{% else %}{% for b in messages %}{% endfor %}{% endfor %}",
        "{# " + "a" * 20_000 + " #}",
        "{{ " + "(" * 5000,
    ):
        with pytest.raises(AssertionError, match="a process was started"):
            template(tmp_path, source).render([ASK])


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{% set a = 'a' * 10**9 %}",
        "{{ [0] * 10**9 }}",
        "{{ 'a' | center(10**9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(10**9) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% for i in range(90000) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
        "{{ " + "not " * 20_000 + "1 }}",
        "{{ messages + 1 }}",
        "{{ messages.nothing.at.all }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ raise_exception('two\nlines') }}",
        "{{ raise_exception() }}",
        "{% for %}",
    ],
    ids=lambda source: source[:40],
)
@pytest.mark.usefixtures("processes")
def test_what_it_may_not_do_ends_in_one_line(source: str, tmp_path: Path) -> None:
    assert len(refusal(tmp_path, source)) < 600


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% set n = 10 ** (10 ** 9) %}",
    ],
    ids=["loops", "a power"],
)
@pytest.mark.usefixtures("processes")
def test_processor_time_is_what_ends_it(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 1)
    assert "takes more than 1 s of processor time" in refusal(tmp_path, source)


def test_templates_with_names(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": SIMPLE}]
    assert template(tmp_path, several).render([ASK[1:]]) == ["<user>Hm?"]
    with pytest.raises(VersionError, match="no chat template"):
        template(tmp_path, several[:1])


def test_special_tokens_are_given_to_it(tmp_path: Path) -> None:
    made = template(tmp_path, "{{ bos_token }}{{ eos_token }}", bos_token={"content": "<s>"}, eos_token="</s>")
    assert made.render([ASK]) == ["<s></s>"]
    with pytest.raises(VersionError, match="bos_token must be a string, found 5"):
        template(tmp_path, SIMPLE, bos_token={"content": 5})


def test_a_template_in_a_file_of_its_own_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("\ufeff" + SIMPLE)
    assert ChatTemplate(tmp_path).render([ASK[1:]]) == ["<user>Hm?"]
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(VersionError, match="not UTF-8"):
        ChatTemplate(tmp_path)
