"""Which language code is highlighted as."""

import time

import pytest

from tools.page_examples import rendered
from ui.ask.examples import FILE, examples
from ui.ask.highlight import guess, known


@pytest.mark.parametrize(
    ("code", "language"),
    [
        ("def f(x):\n    return x\nprint(f(1))", "python"),
        ("for a in 'b':\n    print(a)", "python"),
        ("const a = 1;\nconsole.log(a)", "javascript"),
        ("interface A { b: string }\nlet x: number = 1", "typescript"),
        ('#include <stdio.h>\nint main() { printf("x"); }', "c"),
        ("#include <vector>\nstd::cout << 1;", "cpp"),
        ("public class A { void f() { System.out.println(1); } }", "java"),
        ('package main\nfunc main() { fmt.Println("x") }', "go"),
        ('fn main() { let mut x = 1; println!("{}", x); }', "rust"),
        ("SELECT a FROM b WHERE c = 1", "sql"),
        ("<div><p>x</p></div>", "markup"),
        ('{"a": 1}', "json"),
        ("#!/bin/bash\necho hello", "bash"),
        ("hello world", None),
        ("", None),
    ],
)
def test_guess(code: str, language: str | None) -> None:
    assert guess(code) == language


def test_what_is_long_or_has_spaces_is_known_too() -> None:
    assert guess(f'{{"a": [{"1, " * 300}1]}}') == "json"
    assert guess("def f(x):  \r\n\r\n    return len(x)\r\n") == "python"


@pytest.mark.parametrize(
    "code",
    [
        "\n" * 4000 + "def a(" + ")" * 900,
        "def a(" + ")" * 5000,
        " " * 5000 + "x",
        "\t\n" * 2500,
        "else" + " " * 4995,
        "func (" * 400 + ")" * 2600,
        "class " + "a" * 5000,
        "for " + " in " * 1249,
        "a:" + " " * 4997 + "x",
        "a:\n" * 1666,
        "select " * 714,
        "update " * 714,
        "echo " * 1000,
        "function " * 555,
        "{" + "[" * 4000 + "] " * 400,
        ("func (" * 20 + ")" * 80 + "\n") * 25,
        ("def a(" + ")" * 190 + "\n") * 25,
    ],
)
def test_no_text_takes_long(code: str) -> None:
    began = time.thread_time()
    guess(code)
    assert time.thread_time() - began < 0.1


def test_fences_name_languages_in_many_ways() -> None:
    assert [known(name) for name in ("py", "JS", "c++", "python", "brainfuck", "")] == [
        "python", "javascript", "cpp", "python", "", ""
    ]  # fmt: skip


def test_the_examples_are_the_banks() -> None:
    assert FILE.read_text("utf-8") == rendered(), "python -m tools.page_examples --write"
    assert all(len(items) == 4 for items in examples().values())
    assert all(right < len(question.choices) for items in examples().values() for question, right in items)
