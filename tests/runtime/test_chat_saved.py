"""Conversations that are saved and loaded, and files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from chat_turns import SYSTEM, conversation, texts_of, turn
from runners import Talk

from ovrun.commands.chat.transcript import load
from ovrun.session import Session


def test_saved_and_loaded(
    talk: Talk, session: Session, picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "talk.json"
    first, second = turn("user", "what?", ("image", picture_file)), turn("user", "more?")
    expected = conversation(session, first, second)
    assert talk(f"/image {picture_file.name}", "what?", "/save talk.json")[0] == 0
    written = json.loads(file.read_bytes())
    assert (written["format"], written["version"], written["model"]) == ("ovrun-chat", 1, "tests/fake")
    assert written["messages"] == load(file) == [SYSTEM, first, turn("assistant", expected[0])]
    assert texts_of(talk("/load talk.json", "more?", "/save talk.json")[1]) == expected[1:]
    assert texts_of(talk("/undo", "more?", words=("--load", file))[1]) == expected[1:]
    assert len(load(file)) == 5 and sorted(os.listdir(tmp_path))[-1] == "talk.json"
    picture_file.unlink()
    code, answers, err = talk("/load talk.json", "a")
    assert (code, texts_of(answers)) == (3, conversation(session, turn("user", "a"))) and str(picture_file) in err


def test_only_conversations_are_loaded_or_replaced(talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"format": "ovrun-chat", "version": 1, "messages": [turn("user", "a")]}
    bad = [
        b"",
        b"\xff\xfe{",
        b"[" * 100_000,
        b"[]",
        json.dumps({**good, "format": "x"}).encode(),
        json.dumps({**good, "version": "1"}).encode(),
        json.dumps({**good, "messages": {}}).encode(),
        json.dumps({**good, "messages": [[]]}).encode(),
        json.dumps({**good, "messages": [{**turn("user", "a"), "role": "root"}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": "a"}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": [{"type": "image"}]}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": [{"type": "image", "image": 7}]}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": [{"type": ["a"]}]}]}).encode(),
    ]
    file = tmp_path / "other.json"
    for content in bad:
        file.write_bytes(content)
        code, answers, err = talk(f"/load {file}", f"/save {file}")
        assert code == 3 and answers == [] and err.count("error: ") == 3, content
        assert "no conversation that was saved here" in err and file.read_bytes() == content
    file.write_text(json.dumps({**good, "version": 2}))
    assert "has version 2" in talk(f"/load {file}")[2]
    monkeypatch.setenv("OV_MAX_TRANSCRIPT_BYTES", "10")
    assert "OV_MAX_TRANSCRIPT_BYTES" in talk(f"/load {file}")[2]
