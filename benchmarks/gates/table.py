"""All gates by name. A gate of another subject is a line here and a function that returns `Measured`."""

from __future__ import annotations

from functools import partial

from benchmarks.gates import native, processes, speed
from benchmarks.gates.gate import Gate
from benchmarks.peers.table import REFERENCE

LLAMA_CPP, GENAI = "llama.cpp Q4_0", "onnxruntime-genai int4"
TRANSFORMERS = f"{REFERENCE} fp32"
SDPA_FP16, EAGER_FP16 = "transformers fp16", "transformers eager fp16"

GATES: dict[str, Gate] = {
    "encode": Gate(
        what="encode one tile in int4 (its tower is int8), times faster",
        against=TRANSFORMERS,
        measure=partial(speed.encode, ours="ours int4", peer=REFERENCE),
        at_least=1.8,
    ),
    "encode-fp32": Gate(
        what="the same in fp32",
        against=TRANSFORMERS,
        measure=partial(speed.encode, ours="ours fp32", peer=REFERENCE),
        at_least=1.2,
    ),
    "prefill": Gate(
        what="prefill 1,000 tokens in int4, times faster",
        against=TRANSFORMERS,
        measure=partial(speed.prefill, peer=REFERENCE),
        at_least=1.0,
    ),
    "prefill-llama-cpp": Gate(
        what="the same",
        against=LLAMA_CPP,
        measure=partial(speed.prefill, peer=LLAMA_CPP),
        at_least=1.1,
    ),
    "prefill-genai": Gate(
        what="the same",
        against=GENAI,
        measure=partial(speed.prefill, peer=GENAI),
        at_least=1.3,
    ),
    "decode": Gate(
        what="decode at 1,000 tokens in int4, times faster",
        against=TRANSFORMERS,
        measure=partial(speed.decode, peer=REFERENCE),
        at_least=5.0,
    ),
    "decode-llama-cpp": Gate(
        what="the same",
        against=LLAMA_CPP,
        measure=partial(speed.decode, peer=LLAMA_CPP),
        at_least=1.0,
    ),
    "decode-genai": Gate(
        what="the same",
        against=GENAI,
        measure=partial(speed.decode, peer=GENAI),
        at_least=1.5,
    ),
    "lookup": Gate(
        what="the same with prompt look-up, an answer that copies",
        against=LLAMA_CPP,
        measure=partial(speed.copy, peer=LLAMA_CPP),
        at_least=2.0,
    ),
    "context": Gate(
        what="decode at 4,000 tokens, times the cost at 500",
        against="itself",
        measure=partial(speed.context, long=4000),
        at_most=2.2,
    ),
    "context-7000": Gate(
        what="decode at 7,000 tokens, times the cost at 500",
        against="itself",
        measure=partial(speed.context, long=7000),
        at_most=2.3,
    ),
    "first-token": Gate(
        what="picture of 640 x 480 to first token in int4, times faster",
        against=TRANSFORMERS,
        measure=partial(speed.first_token, peer=REFERENCE),
        at_least=1.7,
    ),
    "memory": Gate(
        what="peak memory of that, share",
        against=TRANSFORMERS,
        measure=partial(processes.answer_peak, ours="ours int4", peer=REFERENCE),
        at_most=0.30,
    ),
    "opening": Gate(
        what="a new process until a known bundle is ready in int4, times faster",
        against=TRANSFORMERS,
        measure=partial(processes.opening, ours="ours int4", peer=REFERENCE),
        at_least=5.0,
    ),
    "preprocess": Gate(
        what="JPEG of 12 megapixels to tiles, times faster",
        against=f"{REFERENCE}' own",
        measure=partial(speed.preprocess, peer=REFERENCE),
        at_least=3.0,
    ),
    "pooling-896": Gate(
        what="pool the tokens of a picture, D 896, times faster",
        against="embedding_bag",
        measure=partial(native.pooling, dim=896),
        at_least=1.0,
    ),
    "pooling-3584": Gate(
        what="the same, D 3,584",
        against="embedding_bag",
        measure=partial(native.pooling, dim=3584),
        at_least=1.0,
    ),
    "cpp-overhead": Gate(
        what="an answer from C++, times the time from Python",
        against="ovrun",
        measure=native.cpp_overhead,
        at_most=1.02,
    ),
    "cpp-opening": Gate(
        what="opening from C++, times the time from Python",
        against="ovrun",
        measure=native.cpp_opening,
        at_most=1.2,
    ),
    "build-0.5b": Gate(
        what="peak memory of a build, 0.5b, times the source weights",
        against="its source",
        measure=partial(processes.build_peak, shape="0.5b"),
        at_most=2.2,
    ),
    "build-7b": Gate(
        what="the same, 7b with 2 layers",
        against="its source",
        measure=partial(processes.build_peak, shape="7b-2-layers"),
        at_most=2.2,
    ),
    # For lack of a GPU none of these has been measured yet.
    "decode-cuda": Gate(
        what="decode at 1,000 tokens in fp16 on CUDA, times faster",
        against=EAGER_FP16,
        measure=partial(speed.decode, ours="ours fp16", peer=EAGER_FP16),
        at_least=3.0,
        device="cuda",
    ),
    "decode-tensorrt": Gate(
        what="the same by TensorRT",
        against=EAGER_FP16,
        measure=partial(speed.decode, ours="ours fp16 tensorrt", peer=EAGER_FP16),
        at_least=3.0,
        device="cuda",
    ),
    "first-token-cuda": Gate(
        what="picture of 1,024 x 768 to first token in fp16 on CUDA, times faster",
        against=SDPA_FP16,
        measure=partial(speed.first_token, ours="ours fp16", peer=SDPA_FP16, size_px=(1024, 768), rounds=20),
        at_least=2.0,
        device="cuda",
    ),
    "first-token-tensorrt": Gate(
        what="the same by TensorRT",
        against=SDPA_FP16,
        measure=partial(speed.first_token, ours="ours fp16 tensorrt", peer=SDPA_FP16, size_px=(1024, 768), rounds=20),
        at_least=2.0,
        device="cuda",
    ),
}
