"""Requests that come together: none crossed, none lost, no more than may wait, and gone ones do no work."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from running_server import EXAMPLES, Running, raw_request, read_all, read_until, running, until, user

from ovrun.session import Session

HELLO = {"model": "default", "messages": [user("Hello")]}
STREAM = json.dumps({**HELLO, "stream": True}).encode()


def test_none_is_crossed(served: Running, alone: Session) -> None:
    """40 different requests at a time, over 4 slots: each answer is the one that its question gets alone."""
    pictures = [(EXAMPLES / name).read_bytes() for name in ("shapes.png", "portrait.png", "tile.png")]
    asked: list[tuple[str, list[bytes], dict[str, Any]]] = [
        (
            f"Describe this, number {number}.",
            pictures[number % 4 : number % 4 + 1],
            {"temperature": 1.5, "seed": number},
        )
        for number in range(40)
    ]
    expected = [alone.generate(prompt=text, images=images, **options).text for text, images, options in asked]

    def ask(number: int) -> str:
        text, images, options = asked[number]
        body = {"messages": [user(*images, text)], "stream": number % 2 == 1, **options}
        heard = served.ask(body)
        assert heard.status == 200, heard.body
        return streamed_text(heard.body) if number % 2 else heard.json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(ask, range(40))) == expected
    assert len(set(expected)) > 15


def streamed_text(body: bytes) -> str:
    chunks = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_more_than_may_wait_get_429(endless: Session) -> None:
    with running(endless, slots=1, queue=2) as served:
        held = [raw_request(served.port, STREAM) for _ in range(3)]
        until(lambda: len(served.service.visits) == 3)
        with pytest.raises(openai.RateLimitError):
            served.client().chat.completions.create(**HELLO)
        assert served.ask(b"{").headers["retry-after"]  # refused before its body is looked at
        assert served.call("GET", "/health").status == 200
        held.pop().close()
        until(lambda: len(served.service.visits) == 2)
        assert served.ask({**HELLO, "messages": []}).status == 400
        for sock in held:
            sock.close()
        until(lambda: not served.service.visits)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(endless: Session, stream: bool) -> None:
    with running(endless, slots=1, queue=4) as served:
        gone = raw_request(served.port, json.dumps({**HELLO, "stream": stream, "max_tokens": 3000}).encode())
        until(lambda: served.service.worker.num_running == 1)
        if stream:
            read_until(gone, b"data: ")
        gone.close()
        began_s = time.monotonic()
        heard = served.ask({**HELLO, "max_tokens": 3})
        assert heard.status == 200 and heard.json()["choices"][0]["finish_reason"] == "length"
        assert time.monotonic() - began_s < 15  # 3,000 tokens would take more than twice that
        assert served.metric('ovrun_answers_total{outcome="cancelled"}') == 1
        assert not served.service.visits and served.service.worker.num_running == 0


def test_a_video_that_nobody_waits_for_is_not_decoded_on(
    served: Running, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], **settings: Any) -> subprocess.Popen[bytes]:
        decoders.append(popen(["sleep", "60"], **settings))
        return decoders[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    url = f"data:video/mp4;base64,{base64.b64encode(clip).decode()}"
    content = [{"type": "video_url", "video_url": {"url": url}}]
    body = {"model": "default", "messages": [{"role": "user", "content": content}]}
    gone = raw_request(served.port, json.dumps(body).encode())
    until(lambda: bool(decoders))
    assert decoders[0].poll() is None
    gone.close()
    until(lambda: decoders[0].returncode is not None)


def test_time_is_up(endless: Session) -> None:
    """In the middle of an answer, and while waiting for a slot."""
    with running(endless, slots=1, timeout_s=0.7, ping_s=0.2) as served:
        with ThreadPoolExecutor(4) as threads:
            whole = [threads.submit(served.ask, {**HELLO, "max_tokens": 3000}) for _ in range(4)]
            heard = [future.result() for future in whole]
        assert {(one.status, one.code) for one in heard} == {(504, "timeout")}
        assert heard[0].headers["x-should-retry"] == "false"
        streamed = served.ask({**HELLO, "max_tokens": 3000, "stream": True})
        *_, last, done = streamed.body.decode().strip().split("\n\n")
        assert streamed.status == 200 and json.loads(last[6:])["error"]["code"] == "timeout"
        assert done == "data: [DONE]"
        with pytest.raises(openai.APIError, match="within"):
            list(served.client().chat.completions.create(**HELLO, max_tokens=3000, stream=True))
        until(lambda: served.service.worker.num_running == 0)
        assert served.metric('ovrun_answers_total{outcome="timeout"}') == 6


def test_silence_is_broken_by_comments(endless: Session) -> None:
    with running(endless, slots=1, ping_s=0.1) as served:
        first = raw_request(served.port, STREAM)
        until(lambda: served.service.worker.num_running == 1)
        second = raw_request(served.port, STREAM)
        assert b"200 OK" in read_until(second, b": still here")
        first.close()
        second.close()


def test_stopping_lets_running_answers_end(endless: Session) -> None:
    with running(endless, slots=1, grace_s=20) as served:
        body = json.dumps({**HELLO, "max_tokens": 40}).encode()
        before = raw_request(served.port, body, "connection: close\r\n")
        until(lambda: served.service.worker.num_running == 1)
        late = raw_request(served.port, b"", "content-length: 50\r\nconnection: close\r\n")
        until(lambda: len(served.server.server_state.tasks) == 2)
        served.server.should_exit = True
        until(lambda: served.service.is_stopping)
        late.sendall(b" " * 50)
        assert b'"finish_reason":"length"' in read_all(before)
        assert read_all(late).startswith(b"HTTP/1.1 4")  # what was under way is told off in good form


def test_stopping_does_not_wait_longer_than_the_grace(endless: Session) -> None:
    with running(endless, slots=1, grace_s=0.3) as served:
        endless_answer = raw_request(served.port, json.dumps({**HELLO, "max_tokens": 3000, "stream": True}).encode())
        until(lambda: served.service.worker.num_running == 1)
        served.server.should_exit = True
        assert b'"code": "stopping"' in read_all(endless_answer)


def test_memory_of_requests_is_given_back(served: Running, picture: bytes) -> None:
    """Nothing of a request stays: no visit, no task, no thread for it."""
    body: dict[str, Any] = {"messages": [user(picture, "What is it?")], "max_tokens": 2}
    served.ask(body)
    until(lambda: not served.service.visits)
    before = threading.active_count()
    for _ in range(20):
        assert served.ask(body).status == 200
    until(lambda: not served.service.visits and not served.server.server_state.tasks)
    assert threading.active_count() <= before + 8  # the pools' own, at most
    assert served.service.worker.num_running == 0
