"""Whole answers: PyTorch reads along the runtime's greedy answer and says what it would have said at each token.

What `--verify full` adds to `compare`: tokenizer, template, tiling, chunked prefill and decode loop take part as a user
has them. Up to the first difference the ids are those of `OneVision.generate`.

Axes: N tiles, C channels, H W pixels, S positions of the prompt, T visual tokens, D width, G tokens of the answer,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ovengines import open_bundle
from ovengines.bundle.manifest import Geometry, ModelSpec
from ovexport.checkpoint.parts import TensorFolder, load_model
from ovexport.model import OneVision, weights_upcast
from ovexport.verify.compare import equal_lead
from ovexport.verify.picture import draw_picture
from ovexport.verify.reference import Progress
from ovexport.verify.report import AnswerRow
from ovexport.verify.tolerance import ANSWER_GAPS
from ovrun import Session
from ovrun.media.image import ImageSource, load_image
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import expand
from ovrun.prompt.messages import conversation
from ovrun.prompt.tokenizer import Tokenizer
from ovrun.tiling.plan import TokenPlan
from ovrun.vision.views import make_view


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A question about one picture."""

    name: str
    image: ImageSource
    prompt: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    ids_S: torch.Tensor
    embed_index_S: torch.Tensor
    pixels_NCHW: torch.Tensor
    plan: TokenPlan


def drawn_samples(geometry: Geometry, seed: int = 0) -> tuple[Sample, ...]:
    """Three drawn pictures (wide, tall, smaller than a tile), a question each."""
    side_px = geometry.image_size_px
    sizes = {"wide": (side_px, side_px * 2), "tall": (side_px * 3 // 2, side_px), "small": (side_px // 2, side_px // 2)}
    prompts = ("Describe this image.", "How many shapes are there?", "Which colours do you see?")
    return tuple(
        Sample(name=f"{name} picture: {prompt}", image=draw_picture(*size_px, seed + i), prompt=prompt)
        for i, ((name, size_px), prompt) in enumerate(zip(sizes.items(), prompts, strict=True))
    )


def full_check(
    bundle_path: str | Path,
    checkpoint: TensorFolder,
    samples: Sequence[Sample],
    max_new_tokens: int = 32,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[AnswerRow, ...]:
    """A row per sample, for `Report.with_answers`. The engine is closed before PyTorch starts.

    Raises OVError as `Session` does.
    """
    report = progress or (lambda step, done, total: None)
    answers: list[list[int]] = []
    with Session.open(str(bundle_path), device="cpu", threads=threads) as session:
        for i, sample in enumerate(samples):
            report("answers of the bundle", i, 2 * len(samples))
            result = session.generate(prompt=sample.prompt, images=[sample.image], max_new_tokens=max_new_tokens)
            answers.append(list(result.token_ids))
    manifest = open_bundle(bundle_path).manifest
    rows = []
    model = load_model(checkpoint)
    with weights_upcast(model), torch.no_grad():
        for i, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
            report("answers of PyTorch", len(samples) + i, 2 * len(samples))
            question = _question(Path(bundle_path), manifest.model, sample)
            rows.append(_row(model, question, sample.name, manifest.precision, answer))
    report("answers of PyTorch", 2 * len(samples), 2 * len(samples))
    return tuple(rows)


def _question(bundle_path: Path, spec: ModelSpec, sample: Sample) -> _Question:
    """The sample as the session makes it: same template, same tiles."""
    image = load_image(sample.image)
    view = make_view(image, spec.geometry, alone=True)
    template = (bundle_path / "chat_template.jinja").read_text(encoding="utf-8")
    tokenizer = Tokenizer(bundle_path / "tokenizer.json")
    ids = encode_conversation(conversation(sample.prompt, 1), template, tokenizer)
    prompt = expand(ids, spec.image_token_id, [view.plan.num_tokens], spec.pad_token_id)
    return _Question(
        ids_S=torch.from_numpy(prompt.ids_S),
        embed_index_S=torch.from_numpy(prompt.embed_index_S),
        pixels_NCHW=torch.from_numpy(view.pixels_TCHW),
        plan=view.plan,
    )


def _row(model: OneVision, question: _Question, name: str, precision: str, answer: list[int]) -> AnswerRow:
    logits_GV = _logits_along(model, question, answer)
    answer_G = torch.tensor(answer)
    best_G = logits_GV.argmax(dim=-1)
    preferred_G = logits_GV.amax(dim=-1) - logits_GV.gather(-1, answer_G[:, None])[:, 0]
    gap_G = preferred_G / logits_GV.abs().amax(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return AnswerRow(
        sample=name,
        precision=precision,
        equal=equal_lead(answer, best_G.tolist()),
        same_choice=int((best_G == answer_G).sum()),
        total=len(answer),
        gap=float(gap_G.max()),
        limit=ANSWER_GAPS[precision],
    )


def _logits_along(model: OneVision, question: _Question, answer: list[int]) -> torch.Tensor:
    """PyTorch's logits before each token of the answer, logits_GV, in one pass over prompt and answer."""
    more = len(answer) - 1
    ids_1S = torch.cat([question.ids_S, torch.tensor(answer[:-1], dtype=torch.int64)])[None]
    index_1S = torch.cat([question.embed_index_S, torch.full((more,), -1)])[None]
    image_embeds_TD = model.image_embeds(question.pixels_NCHW, [question.plan])
    hidden_SD = model.language_model(model.merge(ids_1S, image_embeds_TD, index_1S))[0]
    return model.language_model.logits(hidden_SD[len(question.ids_S) - 1 :])
