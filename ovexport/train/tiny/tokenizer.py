"""The byte-level BPE tokenizer of ov-tiny: trained on the captions and questions of all drawings and on some English.

It cuts text as Qwen2's does (digits one by one), and ChatML specials follow the learned vocabulary. Codes are left out
of what it learns from, so that they are spelled letter by letter. Knows nothing of models.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ovexport.checkpoint.tokenizer import QWEN2_PATTERN
from ovexport.train.drawn.kinds import KINDS
from ovexport.train.drawn.writer import CAPTION_REQUESTS
from ovrun.prompt.messages import DEFAULT_SYSTEM

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE, VIDEO = "<image>", "<video>"
SPECIALS = (END_OF_TEXT, TURN_START, TURN_END, IMAGE, VIDEO)
LEARNED_VOCABULARY = 1000
PADDED_VOCABULARY = 1024  # rows of the embedding table: a multiple of every quantisation block
_DRAWINGS_PER_KIND, _ENGLISH_TIMES = 400, 40
_CODE = re.compile(r"[A-Z]{2,}")

ENGLISH = """\
The sun was low when we walked back along the river.
She put the keys on the table and went to open the window.
There is a small shop at the corner that sells bread and coffee.
He said that he would be here before nine, but the train was late.
You can see the mountains from the top of the old tower.
Please write your name and the date on the first page.
What time does the library close on Friday?
I would like to know more about how this works.
They have been working on the same problem for more than a year.
This is not the answer that I was looking for, but it may help.
If it rains tomorrow, we will stay at home and read.
Could you show me which of these pictures you like best?
A good tool does one thing well and says clearly when it cannot.
The children drew houses, trees and people with bright colours.
Water turns into ice when it gets very cold.
Her brother plays the piano, and her sister sings.
In the morning the street is quiet; in the evening it is full of people.
The number of visitors has grown from ten to more than five hundred.
We need two eggs, some flour, a little salt and a glass of milk.
Turn left at the bridge, then take the second road on the right.
The dog ran after the ball and brought it back to me.
Most of the work was done by hand, without any machine.
Can you tell me what the sign above the door says?
It took them three days to cross the lake and reach the other side.
An image is made of many small points, each with its own colour.
Nothing in the box was broken, although it had fallen down the stairs.
The model reads the question, looks at the picture and gives a short answer.
Yes, I think so. No, that is not what happened.
Every line of the text should be easy to understand.
Who was the first person to walk on the moon?
Some birds fly south in winter, others stay where they are.
Read the label on the left before you press the button.
My grandmother used to tell us stories about the sea.
The meeting will start at half past eight in the large room.
He could not find his glasses because they were on his head.
Between the two buildings there is a narrow garden with yellow flowers.
How much does it cost, and how long will it take?
You should always keep a copy of your important files.
The red car stopped behind the green bus at the traffic light.
It is better to ask again than to guess wrong.
"""


def corpus(seed: int = 0) -> Iterator[str]:
    """The text that the vocabulary is learned from."""
    for name, kind in KINDS.items():
        for index in range(_DRAWINGS_PER_KIND):
            drawing = kind.draw(random.Random(f"corpus {name} {seed} {index}"), held_out=False)
            lines = [drawing.caption, *(line for e in drawing.exchanges for line in (e.question, e.answer))]
            yield from (_CODE.sub("", line) + "\n" for line in lines)
    for _ in range(_ENGLISH_TIMES):
        yield f"system\n{DEFAULT_SYSTEM}\nuser\nassistant\n"
        yield from (f"{request}\n" for request in CAPTION_REQUESTS.values())
        yield from (f"{line}\n" for line in ENGLISH.splitlines())


def train_tokenizer() -> Tokenizer:
    """Train from scratch; every byte is in the alphabet, so any text survives encode and decode."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED_VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    return tokenizer
