"""Every contestant by name: where it runs, on what, in which precision, and against which bundles of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ALL_LOGITS = "gives the logits of all positions of a prompt, of which a floor counts one"
Source = Literal["bundle", "checkpoint", "parts"]
Devices = Mapping[str, str]
CPU: Devices = {"cpu": "cpu"}
CUDA: Devices = {"cuda": "cuda"}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """`source`: what it opens; `parts` are converted first, into a folder named after module and precision."""

    module: str
    precision: str
    source: Source = "parts"
    environment: str | None = None  # folder of its environment; None is this one
    against: tuple[str, ...] = ("fp32",)  # precisions of ours
    converted_by: str | None = None  # the peer whose files it opens, if not its own
    options: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""  # for the page: what is not a default
    notes: str = ""  # for the page: what it does beyond the work that floors count
    devices: Devices = field(default_factory=lambda: {"cpu": ""})  # measured on: what `start` is told, if anything
    target: str = "ort"  # of its bundle
    libraries: tuple[str, ...] = ()  # that convert its files, which are made again by other versions

    @property
    def full_module(self) -> str:
        return f"benchmarks.peers.{self.module}"


def _transformers(dtype: str, precision: str, attention: str, *against: str, devices: Devices = CPU) -> Peer:
    return Peer(
        module="transformers",
        precision=precision,
        source="checkpoint",
        against=against,
        options={"dtype": dtype, "attention": attention},
        settings=f"{attention} attention, logits of the last token only, its own cache",
        devices=devices,
    )


def _genai(precision: str) -> Peer:
    return Peer(
        module="onnxruntime_genai",
        precision=precision,
        environment="onnxruntime_genai",
        against=(precision,),
        settings="its own builder's defaults, intra_op_num_threads, past_present_share_buffer",
        libraries=("onnxruntime-genai", "onnx-ir", "transformers"),
    )


def _llama_cpp(precision: str, ours: str) -> Peer:
    return Peer(
        module="llama_cpp",
        precision=precision,
        environment="llama_cpp",
        against=(ours,),
        settings="compiled for this processor, n_threads and n_threads_batch, flash attention, batches of 512",
        libraries=("llama-cpp-python", "gguf"),
    )


def _openvino(called: str, **options: str) -> Peer:
    return Peer(
        module="openvino",
        precision=called,
        environment="openvino",
        converted_by="optimum-onnx",
        options=options,
        settings="latency hint, INFERENCE_NUM_THREADS, decoder made stateful; the rest is the plugin's choice",
        notes=f"{ALL_LOGITS}; attention is not fused, keys and values are joined anew each step",
    )


def _ours(precision: str, devices: Devices, target: str = "ort") -> Peer:
    return Peer(module="ours", precision=precision, source="bundle", against=(), devices=devices, target=target)


OURS = {
    **{f"ours {precision}": _ours(precision, CPU) for precision in ("int4", "int8", "fp32")},
    **{f"ours {precision}": _ours(precision, CUDA) for precision in ("fp16", "bf16")},
    "ours fp16 tensorrt": _ours("fp16", {"cuda": "tensorrt"}, target="tensorrt"),
}
REFERENCE = "transformers"
PEERS: dict[str, Peer] = {
    REFERENCE: _transformers("float32", "fp32", "sdpa", "int4", "fp32"),
    "transformers eager": _transformers("float32", "fp32", "eager", "fp32"),
    "transformers bf16": _transformers("bfloat16", "bf16", "sdpa", "int8"),
    "transformers eager bf16": _transformers("bfloat16", "bf16", "eager", "int8"),
    "transformers fp16": _transformers("float16", "fp16", "sdpa", "fp16", "fp16 tensorrt", devices=CUDA),
    "transformers eager fp16": _transformers("float16", "fp16", "eager", "fp16", "fp16 tensorrt", devices=CUDA),
    "transformers bf16 on CUDA": _transformers("bfloat16", "bf16", "sdpa", "bf16", devices=CUDA),
    "optimum-onnx": Peer(
        module="optimum_onnx",
        precision="fp32",
        environment="optimum_onnx",
        settings="as optimum-cli exports (accelerate installed), intra_op_num_threads",
        notes=f"{ALL_LOGITS}; keys and values are joined anew each step",
        libraries=("optimum-onnx", "optimum", "onnx", "transformers", "torch"),
    ),
    "openvino": _openvino("bf16"),
    "openvino fp32": _openvino("fp32", precision="f32"),
    "onnxruntime-genai int4": _genai("int4"),
    "onnxruntime-genai fp32": _genai("fp32"),
    "llama.cpp Q4_0": _llama_cpp("q4_0", "int4"),
    "llama.cpp Q8_0": _llama_cpp("q8_0", "int8"),
}
CONTESTANTS = {**OURS, **PEERS}
