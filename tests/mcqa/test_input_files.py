"""Files that people give: encodings, pipes, bounds, and every mistake at once."""

from __future__ import annotations

import codecs
import json
import os
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcqa import input_files, questions
from mcqa.errors import CommandError
from mcqa.verbs import app
from pipelines import bank

LINE = '{"question": "café?", "choices": ["é", "y"], "answer": 0}\n'
CODE = 'x = "café"\nprint(len(x))\n'
MARKED = {
    "UTF-8": CODE.encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + CODE.encode(),
    "UTF-16": CODE.encode("utf-16"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + CODE.encode("utf-16-be"),
    "UTF-32": CODE.encode("utf-32"),
    "CRLF": CODE.replace("\n", "\r\n").encode(),
    "CR": CODE.replace("\n", "\r").encode(),
    "UTF-16 with CRLF": CODE.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_source_file_is_the_same_text_in_every_encoding(name: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_bytes(MARKED[name])
    assert input_files.read_code(tmp_path / "code.py") == CODE


@pytest.mark.parametrize(
    "first",
    ["# coding: latin-1", "# -*- coding: iso-8859-15 -*-", "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :"],
)
def test_a_source_file_may_declare_its_encoding(first: str, tmp_path: Path) -> None:
    text = f"{first}\n{CODE}"
    (tmp_path / "code.py").write_bytes(text.encode("latin-1"))
    assert input_files.read_code(tmp_path / "code.py") == text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (CODE.encode("latin-1"), "line 1: byte 8 is not UTF-8: save the file as UTF-8, or declare its encoding"),
        (b"a = 1\nb = '\xe9'\n", "line 2: byte 11 is not UTF-8"),
        (b"\x7fELF\0\0", "is not text: it contains zero bytes"),
        (b"# coding: klingon\n", "declares an unknown encoding, klingon"),
        (codecs.BOM_UTF16_LE + b"a", "is not UTF-16-LE"),
        (b"#" * (input_files.MAX_CODE_BYTES + 1), "is too large: at most 1.0 MB"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_bytes(data)
    with pytest.raises(CommandError) as failure:
        input_files.read_code(path)
    assert str(path) in str(failure.value)
    assert says in str(failure.value)


def test_folders_devices_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path, "a folder|Is a directory"),
        (tmp_path / "none", "No such file"),
        (Path("/dev/zero"), "too large"),
    ):
        with pytest.raises(CommandError, match=says):
            input_files.read_code(path)
    assert input_files.read_code(Path("/dev/null")) == ""


def test_a_pipe_is_read_to_its_end_however_slowly_it_comes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as file:
            for line in CODE.splitlines(keepends=True):
                file.write(line)
                file.flush()
                threading.Event().wait(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    assert input_files.read_code(pipe) == CODE
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_files, "PIPE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CommandError, match="nobody wrote to this pipe"):
        input_files.read_code(tmp_path / "pipe")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_questions_are_read_in_every_encoding(encoding: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes((LINE * 2).replace("\n", end).encode(encoding))
    assert [item.question.choices for item in questions.from_file(str(tmp_path / "q.jsonl"))] == [("é", "y")] * 2
    if encoding != "utf-16":
        assert [item.question.choices for item in bank.load_jsonl(tmp_path / "q.jsonl")] == [("é", "y")] * 2


def test_a_mark_in_the_middle_of_joined_files_is_none_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes((codecs.BOM_UTF8 + LINE.encode()) * 2)
    assert len(questions.from_file(str(tmp_path / "q.jsonl"))) == 2
    assert len(bank.load_jsonl(tmp_path / "q.jsonl")) == 2


BAD = [
    ("not json", "is not JSON: Expecting value at column 1"),
    ("{", "is not JSON"),
    ("[" * 100_000, "is not JSON: maximum recursion depth"),
    ('{"question": "Q?", "choices": ["x"], "answer": 0}', "choices: needs 2 to 10 choices, found 1"),
    ('{"question": "Q?", "choices": ["x", "y"], "answer": 7}', "answer: must be "),
    ('{"question": "Q?", "choices": ["x", "y"], "answer": ' + "9" * 5000 + "}", "is not JSON: Exceeds the limit"),
]


@pytest.mark.parametrize("words", [["bank"], ["evaluate", "--bank"], ["ask", "--file"]])
@pytest.mark.parametrize("count", [1, 3, 14])
def test_the_first_ten_mistakes_are_listed_with_their_lines(words: list[str], count: int, tmp_path: Path) -> None:
    lines = [LINE]
    for i in range(count):
        lines += [BAD[i % len(BAD)][0] + "\n", "\n", LINE]
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    result = CliRunner().invoke(app, [*words, str(path)])
    lines_shown = result.stderr.splitlines()
    assert result.exit_code == 1
    assert lines_shown[0].startswith(f"error: {path}")
    if count == 1:
        assert len(lines_shown) == 1
        assert BAD[0][1] in lines_shown[0]
        assert "2" in lines_shown[0].removeprefix(f"error: {path}")[:9]
        return
    assert lines_shown[0] == f"error: {path} has {count} mistakes"
    for i, line in enumerate(lines_shown[1 : 1 + min(count, 10)]):
        assert line.startswith(f"  line {2 + 3 * i}: ")
        assert BAD[i % len(BAD)][1] in line
    assert lines_shown[11:] == ([f"  and {count - 10} more"] if count > 10 else [])


def test_mistakes_in_a_list_are_counted_by_question_and_a_broken_list_is_one(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps([json.loads(LINE), {}, 3], indent=1))
    with pytest.raises(CommandError) as failure:
        questions.from_file(str(path))
    assert [line.split(":")[0] for line in failure.value.details] == ["question 1", "question 2"]
    path.write_text('[\n {"question": "Q?" "choices": []}\n]\n')
    with pytest.raises(CommandError, match=r"q.json, line 2 is not JSON: Expecting ',' delimiter at column 20"):
        questions.from_file(str(path))


def test_an_error_quotes_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text('{"question": "Q?", "choices": ["x", "y"], "\\u001b[31mred\\u0007": 1}')
    result = CliRunner().invoke(app, ["ask", "--file", str(path)])
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert "\x07" not in result.stderr
