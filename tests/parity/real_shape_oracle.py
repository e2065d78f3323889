"""What transformers makes of a picture and a question with a large checkpoint, in a process of its own, as an .npz.

Run as `python real_shape_oracle.py CHECKPOINT PICTURE OUT NEW_TOKENS LOGITS`. One pass over the prompt and one step
per token; the tower's features and the packed visual tokens are recorded on the way.

Axes: T tiles, C channels, H W pixels, P patches of a tile, V visual tokens, D width, S positions, K kept positions,
N vocabulary, G greedy tokens.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_pair import ImageProcessor, Processor, question_text
from PIL import Image
from tiny_oracle import pooled
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast


def main(checkpoint: Path, picture: Path, out: Path, new_tokens: int, kept: int) -> None:
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint, torch_dtype=torch.float32).eval()
    vision = model.config.vision_config
    processor = Processor(
        image_processor=ImageProcessor.from_pretrained(checkpoint),
        tokenizer=PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json")),
        num_image_tokens=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=model.config.vision_aspect_ratio,
    )
    text = question_text("<image>\nHow many shapes are there?")
    inputs = processor(text=[text], images=[[Image.open(picture).convert("RGB")]], return_tensors="pt")
    inputs.pop("token_type_ids", None)
    recorded: dict[str, Any] = {}
    pack = model.model.get_image_features

    def record_packed(*args: Any, **options: Any) -> Any:
        recorded["image_embeds"] = pack(*args, **options)
        return recorded["image_embeds"]

    def record_features(module: Any, args: Any, output: Any) -> None:
        recorded["features"] = output.hidden_states[-1][:1]

    model.model.get_image_features = record_packed
    model.model.vision_tower.register_forward_hook(record_features)
    answer: list[int] = []
    steps = []
    with torch.no_grad():
        output = model(**inputs, use_cache=True, logits_to_keep=kept)
        logits_KN = output.logits[0]
        while len(answer) < new_tokens:
            steps.append(output.logits[0, -1])
            answer.append(int(steps[-1].argmax()))
            output = model(
                input_ids=torch.tensor([answer[-1:]]), past_key_values=output.past_key_values, use_cache=True
            )
    np.savez(
        out,
        pixels_TCHW=inputs["pixel_values"][0].numpy(),
        features_1PD=recorded["features"].numpy(),
        image_embeds_VD=pooled(recorded["image_embeds"]).numpy(),
        ids_S=inputs["input_ids"][0].numpy(),
        logits_KN=logits_KN.numpy(),
        answer_G=np.array(answer),
        step_logits_GN=torch.stack(steps).numpy(),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
