"""One random checkpoint twice: as transformers' model and processor, and as a bundle in the torch-free runtime.

Both are asked the same question; what they see, read and say comes back in the same form.

Axes: T tiles, C channels, H W pixels, V visual tokens, D width, S positions of the prompt, N vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from parity_shapes import SHAPES
from PIL import Image
from tiny_checkpoint import hf_tokenizer, write_hf
from tiny_oracle import hf_model, pooled, same_model
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from ovengines import open_engine
from ovexport.build import build_bundle
from ovexport.checkpoint import open_checkpoint, save_checkpoint
from ovexport.checkpoint.chat_template import builtin_template
from ovexport.plan import plan_build
from ovexport.progress import Bars
from ovrun import Session
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import expand
from ovrun.prompt.messages import conversation
from ovrun.vision.encode import encode_tiles, project_views
from ovrun.vision.views import make_view

NEW_TOKENS = 6
CHUNK_TOKENS = 150  # so that most prompts are read in several chunks
IS_FOUR = transformers.__version__.startswith("4.")
_PROCESSORS = "transformers.models.llava_onevision.image_processing"
ImageProcessor = (
    import_module(f"{_PROCESSORS}_llava_onevision").LlavaOnevisionImageProcessor
    if IS_FOUR
    else import_module(f"{_PROCESSORS}_pil_llava_onevision").LlavaOnevisionImageProcessorPil
)


class Processor(LlavaOnevisionProcessor):
    """Of transformers, but content without a processor for videos, whose import needs torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> type:
        return type(argument)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What one side made of a question. `margin` is how far, relative to the largest logit, the likeliest token was
    from the next at the closest step of the answer (0 where it is not known)."""

    pixels_TCHW: np.ndarray
    image_embeds_VD: np.ndarray
    ids_S: list[int]  # with the image token at every visual position
    logits_SN: np.ndarray
    answer: list[int]
    margin: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """`sessions`: one for each decoder of the bundle, by its role."""

    oracle: LlavaOnevisionForConditionalGeneration
    processor: Processor
    sessions: dict[str, Session]


def make_pair(name: str, folder: Path) -> Pair:
    shape = SHAPES[name]
    config, source, target = shape.config(), folder / "checkpoint", folder / "bundle"
    template = builtin_template(has_video_token=True)
    if shape.saved_by == "transformers":
        write_hf(source, shape.seed, config=config)
        (source / "chat_template.jinja").write_text(template)
    else:
        model = same_model(config, hf_model(config, shape.seed))
        tokenizer = hf_tokenizer().backend_tokenizer.to_str().encode()
        save_checkpoint(model, source, tokenizer_json=tokenizer, chat_template=template, dtype=torch.float32)
    with open_checkpoint(source) as checkpoint:
        plan = plan_build(checkpoint, "fp32", "ort")
        build_bundle(checkpoint, plan, target, verify="off", force=False, bars=Bars(quiet=True))
    return Pair(
        oracle=LlavaOnevisionForConditionalGeneration.from_pretrained(
            source, attn_implementation="eager", torch_dtype=torch.float32
        ).eval(),
        processor=Processor(
            image_processor=ImageProcessor.from_pretrained(source),
            tokenizer=hf_tokenizer(),
            num_image_tokens=config.vision.patches_per_side**2,
            vision_feature_select_strategy="full",
            vision_aspect_ratio=f"anyres_max_{shape.max_tiles}",
        ),
        sessions=open_sessions(target),
    )


def open_sessions(path: Path) -> dict[str, Session]:
    """The newest and the oldest runtimes take different decoders of a bundle; here each has to answer."""
    best = Session.open(path, threads=1)
    bundle = best.bundle
    decoders = [role for role in bundle.manifest.roles("ort") if role.startswith("decoder")]
    engines = {role: open_engine(bundle, "cpu", 1, decoder=role) for role in decoders}
    named = {role: Session(bundle, engine, best.tokenizer, best.template) for role, engine in engines.items()}
    return {"best": best, **named}


def question_text(prompt: str) -> str:
    """The conversation as training wrote it, spelled out."""
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    )


def ask_transformers(pair: Pair, images: Sequence[Image.Image], prompt: str) -> Seen:
    """Several images in one list are single views."""
    inputs = pair.processor(text=[question_text(prompt)], images=[list(images)], return_tensors="pt")
    inputs.pop("token_type_ids", None)  # of the tokenizer's class in transformers 4, not of the model
    spec = pair.sessions["best"].model
    with torch.no_grad():
        logits_SN = pair.oracle(**inputs).logits[0]
        features = pair.oracle.model.get_image_features(
            **{k: v for k, v in inputs.items() if k in ("pixel_values", "image_sizes", "batch_num_images")}
        )
        generated: Any = pair.oracle.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=list(spec.eos_token_ids),
            pad_token_id=spec.pad_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
    ids_S = inputs["input_ids"][0].tolist()
    return Seen(
        pixels_TCHW=inputs["pixel_values"].flatten(0, 1).numpy(),
        image_embeds_VD=pooled(features).numpy(),
        ids_S=ids_S,
        logits_SN=logits_SN.numpy(),
        answer=generated.sequences[0, len(ids_S) :].tolist(),
        margin=min(_margin(step_1N[0]) for step_1N in generated.logits),
    )


def _margin(logits_N: torch.Tensor) -> float:
    first, second = logits_N.topk(2).values.tolist()
    return (first - second) / float(logits_N.abs().max())


def ask_bundle(session: Session, images: Sequence[Image.Image], prompt: str) -> Seen:
    """Stage by stage for what is inside, and through `Session.generate` for the answer."""
    model, engine = session.model, session.engine
    views = [make_view(image, model.geometry, alone=len(images) == 1) for image in images]
    image_embeds_VD = project_views(engine, views, encode_tiles(engine, views, model))
    marked = encode_conversation(conversation(prompt, len(images)), session.template, session.tokenizer)
    read = expand(marked, model.image_token_id, [view.plan.num_tokens for view in views], model.pad_token_id)
    cache = engine.new_cache(read.num_tokens)
    chunks = []
    for start in range(0, read.num_tokens, CHUNK_TOKENS):
        ids_S = read.ids_S[start : start + CHUNK_TOKENS]
        logits_1SN = engine.decode(
            cache,
            ids_S[None],
            embed_index_BS=read.embed_index_S[None, start : start + CHUNK_TOKENS],
            image_embeds_TD=image_embeds_VD,
            logits_index_BK=np.arange(len(ids_S))[None],
        )
        chunks.append(logits_1SN[0].copy())  # the engine's array is valid until its next call only
    result = session.generate(prompt=prompt, images=list(images), max_new_tokens=NEW_TOKENS)
    visual_S = read.embed_index_S >= 0
    assert (result.prompt_tokens, result.image_tokens) == (read.num_tokens, visual_S.sum())
    assert result.tiles == sum(len(view.pixels_TCHW) for view in views)
    return Seen(
        pixels_TCHW=np.concatenate([view.pixels_TCHW for view in views]),
        image_embeds_VD=image_embeds_VD,
        ids_S=np.where(visual_S, model.image_token_id, read.ids_S).tolist(),
        logits_SN=np.concatenate(chunks),
        answer=list(result.token_ids),
    )
