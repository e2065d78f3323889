"""`ovrun chat` from a script: its answers are those of `Session.generate`."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_turns import SHORT, SYSTEM, conversation, give_lines, texts_of, turn
from fake_engine import FakeEngine
from PIL import Image
from runners import Talk

from ovrun.cli import main
from ovrun.commands.chat.orders import ORDERS
from ovrun.session import Session


def test_turns_are_those_of_one_conversation(talk: Talk, session: Session, picture_file: Path) -> None:
    code, answers, err = talk("what?", f"/image {picture_file}", "", "and this?", "is it red?")
    expected = conversation(
        session, turn("user", "what?"), turn("user", "and this?", ("image", picture_file)), turn("user", "is it red?")
    )
    assert (code, texts_of(answers), err) == (0, expected, "")
    assert answers[0]["reused_tokens"] == 0 and all(answer["reused_tokens"] > 20 for answer in answers[1:])


def test_what_is_on_the_command_line_is_the_first_turn(talk: Talk, session: Session, picture_file: Path) -> None:
    first = turn("user", "what?", ("image", picture_file), ("image", picture_file))
    expected = conversation(session, first, turn("user", "more?"))
    media = (picture_file, picture_file)
    assert texts_of(talk("more?", words=(*media, "-p", "what?"))[1]) == expected
    assert texts_of(talk("what?", "more?", words=media)[1]) == expected


def test_a_folder_of_frames_is_a_video(talk: Talk, session: Session, tmp_path: Path) -> None:
    clip = tmp_path / "my clip"
    clip.mkdir()
    for number in range(3):
        Image.new("RGB", (30, 30), (80 * number, 0, 0)).save(clip / f"{number}.png")
    question = turn("user", "what moves?", ("video", clip))
    expected = session.generate(messages=[SYSTEM, question], max_new_tokens=9, num_frames=2)
    code, answers, _ = talk(f'/video "{clip}"', "what moves?", words=("--num-frames", 2))
    assert (code, texts_of(answers), answers[0]["tiles"]) == (0, [expected.text], 2)
    assert talk("what moves?", words=("--num-frames", 2, "--video", clip))[1][0]["text"] == expected.text


def test_lines_that_go_on_and_lines_that_are_no_commands(talk: Talk, session: Session) -> None:
    code, answers, _ = talk("one\\", "two", "//three", "four\\\\", "five\\")
    asked = ("one\ntwo", "/three", "four\\\\", "five\n")
    assert code == 0 and texts_of(answers) == conversation(session, *(turn("user", text) for text in asked))


def test_orders_change_the_history(talk: Talk, session: Session) -> None:
    a, b, c = (turn("user", text) for text in "abc")
    brief = turn("system", "Be brief.")
    ab = conversation(session, a, b)
    assert texts_of(talk("a", "c", "/undo", "b")[1])[2] == ab[1]
    assert texts_of(talk("a", "b", "/clear", "c")[1]) == [*ab, *conversation(session, c)]
    assert texts_of(talk("/system Be brief.", "a", "/clear", "b")[1]) == [
        *conversation(session, a, system=brief),
        *conversation(session, b, system=brief),
    ]
    assert texts_of(talk('/system ""', "a")[1]) == conversation(session, a, system=None)
    assert texts_of(talk("a", words=("--system", "Be brief."))[1]) == conversation(session, a, system=brief)
    assert texts_of(talk("a", "/quit", "b")[1]) == ab[:1]


def test_undo_takes_what_is_attached_first(talk: Talk, session: Session, picture_file: Path) -> None:
    lines = ("a", f"/image {picture_file}", "/undo", "b")
    assert texts_of(talk(*lines)[1]) == conversation(session, turn("user", "a"), turn("user", "b"))


def test_texts_stats_and_warnings(
    bundle_path: Path,
    engines: list[FakeEngine],
    session: Session,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = conversation(session, turn("user", "a"), turn("user", "b"))
    give_lines(("a", "/stats", "b", "/system", "/help"), monkeypatch)
    assert main(["chat", "-m", str(bundle_path), *SHORT, "--stats", "--top-k", "4"]) == 0
    out, err = capsys.readouterr()
    assert out == "".join(text.removesuffix("\n") + "\n" for text in expected)
    assert err.count("first token") == 3 and err.count("reused") == 1 and "of 256 tokens" in err
    assert err.count("warning: top_k without effect") == 1
    assert "\nYou are a helpful assistant.\n" in err and all(f"  {name} " in err for name in ORDERS)


def test_the_real_model_answers_as_in_a_conversation_of_its_own(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = Path(__file__).parents[2] / "examples"
    shapes, tile = examples / "shapes.png", examples / "tile.png"
    questions = (
        turn("user", "How many shapes are there?", ("image", shapes)),
        turn("user", "What color is the circle?"),
        turn("user", "Describe this image.", ("image", tile)),
    )
    with Session.open(tiny_bundle) as session:
        expected = conversation(session, *questions)
    give_lines((questions[0]["content"][1]["text"], "What color is the circle?", f"/image {tile}"), monkeypatch)
    words = ["chat", str(shapes), "-m", str(tiny_bundle), *SHORT, "-q"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == expected[:2]
    give_lines(("What color is the circle?", f"/image {tile}", "Describe this image."), monkeypatch)
    assert main([*words, "-p", questions[0]["content"][1]["text"]]) == 0
    assert capsys.readouterr().out.splitlines() == expected
