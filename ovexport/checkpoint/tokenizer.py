"""The tokenizer of a checkpoint as the bytes of one tokenizer.json, and the ids of its tokens with a meaning.

Knows Qwen2's byte-level BPE and the files that hold one. A folder without tokenizer.json gets one made from
vocab.json and merges.txt; a folder whose tokenizer lacks `<image>` (LLaVA-NeXT's) gets it added at the id
that the model uses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from ovexport.checkpoint.json_fields import Fields, bad_checkpoint, read_json

IMAGE_TOKEN, VIDEO_TOKEN = "<image>", "<video>"
END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"
MAX_FILLERS = 4096  # unused tokens between the tokenizer's last and the image token; a real one needs none

# Words with their leading character, single digits, punctuation, line ends, blanks (transformers tokenization_qwen2).
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    image: int
    video: int | None
    pad: int
    eos: tuple[int, ...]


def load_tokenizer(folder: Path) -> Tokenizer:
    """tokenizer.json, or the same made from vocab.json and merges.txt. Raises OVError (BAD_INPUT)."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return _from_vocab_and_merges(folder)
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as err:  # tokenizers raises bare Exception
        raise bad_checkpoint(f"tokenizer.json cannot be read: {err}", "download it again") from err


def tokenizer_json(tokenizer: Tokenizer) -> bytes:
    """Merges as "left right", the form that versions before 0.20 of the tokenizers library read too."""
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    pairs = [merge for merge in model.get("merges", []) if isinstance(merge, list)]
    if not any(" " in part for pair in pairs for part in pair):
        model["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", [])]
    return json.dumps(content, ensure_ascii=False).encode()


def place_token(tokenizer: Tokenizer, token: str, wanted_id: int | None) -> int:
    """See that `token` is a special token of id `wanted_id` (None: wherever it is, or the next free one).

    Ids between the last one and the wanted one are filled with unused tokens. Raises OVError (BAD_INPUT) if
    the id is taken, too far, or the token has another one.
    """
    present = tokenizer.token_to_id(token)
    if present is None:
        next_id = _next_id(tokenizer)
        target = next_id if wanted_id is None else wanted_id
        if not next_id <= target <= next_id + MAX_FILLERS:
            vocab = tokenizer.get_vocab(with_added_tokens=True)
            taken = next((other for other, token_id in vocab.items() if token_id == target), None)
            raise bad_checkpoint(
                f"the token {token} should have id {target}, but the tokenizer "
                + (f"has {taken!r} there" if taken is not None else f"ends at {next_id - 1}"),
                "tokenizer and config.json are of different models",
            )
        fillers = [AddedToken(f"<|unused_{i}|>", special=True, normalized=False) for i in range(next_id, target)]
        tokenizer.add_special_tokens([*fillers, AddedToken(token, special=True, normalized=False)])
        present = tokenizer.token_to_id(token)
    if wanted_id is not None and present != wanted_id:
        raise bad_checkpoint(
            f"the token {token} has id {present} in the tokenizer, but {wanted_id} in config.json",
            "tokenizer and config.json are of different models",
        )
    assert present is not None, token
    if tokenizer.encode(token, add_special_tokens=False).ids != [present]:
        raise bad_checkpoint(
            f"the tokenizer has {token} in its vocabulary, but splits it", "declare it as a special token"
        )
    return present


def find_special_ids(folder: Path, top: Fields, tokenizer: Tokenizer, image: int, video: int | None) -> SpecialIds:
    """End and padding: of generation_config.json, config.json, text_config, then the tokenizer's own.

    Raises OVError (BAD_INPUT) if none of them says when an answer ends.
    """
    sources = [Fields.read_if_there(folder / "generation_config.json"), top, top.object("text_config")]
    eos = next((ids for fields in sources if (ids := _ids(fields, "eos_token_id"))), ())
    pad = next((ids for fields in sources if (ids := _ids(fields, "pad_token_id"))), ())
    eos = eos or _named_id(folder, tokenizer, "eos_token", END_OF_TURN)
    pad = pad or _named_id(folder, tokenizer, "pad_token", PADDING) or eos
    if not eos:
        raise bad_checkpoint("nothing in this checkpoint says which token ends an answer (eos_token_id)")
    return SpecialIds(image=image, video=video, pad=pad[0], eos=eos)


def _ids(fields: Fields, key: str) -> tuple[int, ...]:
    value = fields.values.get(key)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(item) is int and item >= 0 for item in values):
        raise bad_checkpoint(f"{fields.where}: {key} is {value!r}, not a token id")
    return tuple(values)


def _named_id(folder: Path, tokenizer: Tokenizer, field: str, fallback: str) -> tuple[int, ...]:
    named = Fields.read_if_there(folder / "tokenizer_config.json").values.get(field)
    content = named.get("content") if isinstance(named, dict) else named
    for token in (content, fallback):
        if isinstance(token, str) and (token_id := tokenizer.token_to_id(token)) is not None:
            return (token_id,)
    return ()


def _next_id(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def _from_vocab_and_merges(folder: Path) -> Tokenizer:
    vocab, merges_path = read_json(_either(folder, "vocab.json")), _either(folder, "merges.txt")
    try:
        lines = merges_path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as err:
        raise bad_checkpoint("merges.txt is not UTF-8 text", "download it again") from err
    merges = [_merge(line) for line in lines if line and not line.startswith("#version")]
    try:
        tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges, fuse_unk=False, byte_fallback=False))
    except Exception as err:  # tokenizers raises bare Exception
        raise bad_checkpoint(f"vocab.json and merges.txt do not make a tokenizer: {err}") from err
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    for token_id, token in sorted(_added_tokens(folder).items()):
        _add(tokenizer, token, token_id)
    return tokenizer


def _merge(line: str) -> tuple[str, str]:
    left, _, right = line.partition(" ")
    if not left or not right or " " in right:
        raise bad_checkpoint(f"merges.txt has the line {line!r}, which is not a pair", "download it again")
    return left, right


def _either(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise bad_checkpoint(f"the checkpoint has neither tokenizer.json nor {name}", "download the tokenizer too")
    return folder / name


def _added_tokens(folder: Path) -> dict[int, AddedToken]:
    """By id: added_tokens.json says which, tokenizer_config.json says how they behave (and wins)."""
    path = folder / "added_tokens.json"
    names = Fields.read_if_there(path)
    added = {names.integer(content): AddedToken(content, special=True, normalized=False) for content in names.values}
    decoder = Fields.read_if_there(folder / "tokenizer_config.json").object("added_tokens_decoder")
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    for token_id, token in decoder.values.items():
        try:
            added[int(token_id)] = AddedToken(token["content"], **{k: token[k] for k in flags if k in token})
        except (KeyError, TypeError, ValueError) as err:
            raise bad_checkpoint(f"{decoder.where}: token {token_id} is malformed") from err
    return added


def _add(tokenizer: Tokenizer, token: AddedToken, token_id: int) -> None:
    (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    if (got := tokenizer.token_to_id(token.content)) != token_id:
        raise bad_checkpoint(
            f"the added token {token.content} should have id {token_id}, but would get {got}",
            "vocab.json and the added tokens do not belong together",
        )
