"""One token of one conversation: the hot loop. Nothing is allocated in it, and after the first of its kind a step is
one upload, one launch, one copy of the new rows into the cache and one download.

The past is rounded up, and what is beyond it hidden by the mask, so that shapes recur; for each rounded past the run is
captured once per region of the cache. Each rounded past has an executor of its own, as a captured graph holds only
while its executor's shapes stay. A graph can't hold an address that changes, so new rows go to scratch memory first.

Conversations step in turn, and each may be of another rounded past: as many executors and graphs are kept as there are
slots, for of fewer each would drive out the one that is needed next. A slot's keys and values take far more memory.
Executors are made with the cache, never in the loop: one that is not used any more is given the new shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ovengines.errors import OVError
from ovengines.tensorrt.backend import ALIGNMENT_BYTES, Device, Executor, Graph, Memory, Plan
from ovengines.tensorrt.cache import DeviceKVCache, Region
from ovengines.tensorrt.delta import HIDDEN, Chunk, DecoderSpec, Outputs, set_shapes
from ovengines.tensorrt.inputs import Field, InputBlock
from ovengines.tensorrt.profiles import PAST_STEP, STEP
from ovengines.tensorrt.results import Result

PASTS_KEPT = 4  # at least, in executors: one conversation that is taken back and goes on differently
GRAPHS_KEPT = 16  # at least, of any past and region
Key = TypeVar("Key")
Item = TypeVar("Item")


@dataclass
class _Shaped:
    """An executor under the profile STEP, and the region that its past was bound to last."""

    executor: Executor
    bound: Region | None = None


class Stepper:
    """The decoder under its profile STEP. As many steps as were reserved may be asked for before waiting."""

    def __init__(
        self, device: Device, plan: Plan, scratch: Memory, spec: DecoderSpec, outputs: Outputs, *, cuda_graphs: bool
    ) -> None:
        self._device, self._plan, self._scratch, self._spec, self._outputs = device, plan, scratch, spec, outputs
        self._cuda_graphs = cuda_graphs
        names = ("input_ids", "embed_index", "position_ids", "logits_index")
        fields = {name: Field(dtype="int64", count=1) for name in names}
        mask = Field(dtype="float32", count=spec.bounds.past_rows + 1)
        self._block = InputBlock(device, {**fields, "attention_mask": mask})
        self._image = device.allocate(4 * spec.hidden)
        self._row_pitch_bytes = -(-spec.row_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._new_rows = device.allocate(spec.planes * self._row_pitch_bytes)
        self._shaped: dict[int, _Shaped] = {}  # by past, the least recently used first
        self._graphs: dict[tuple[int, Region], Graph] = {}  # by past and region, the least recently used first
        self._most_graphs = GRAPHS_KEPT
        self._idle: list[Executor] = []
        self.reserve(1)

    def reserve(self, slots: int) -> None:
        """Be ready for steps of so many conversations in flight, each of another past."""
        self._block.reserve(slots)
        self._most_graphs = max(self._most_graphs, slots)
        executors = min(max(PASTS_KEPT, slots), num_rounded_pasts(self._spec.bounds.past_rows))
        for _ in range(executors - len(self._idle) - len(self._shaped)):
            self._idle.append(self._new_executor())

    def step(
        self,
        side: int,
        cache: DeviceKVCache,
        slot: int,
        chunk: Chunk,
        results: Sequence[Result],
        *,
        least_past: int = 0,
    ) -> None:
        """Run the one token of `chunk`; row `side` of the results is there once the device was waited for.

        `least_past` makes the past that is seen longer than needed; all of the excess is hidden.
        """
        region, length = cache.region(slot), cache.lengths[slot]
        rows = min(region.pitch_bytes // region.row_bytes, self._spec.bounds.past_rows)
        past = rounded_past(max(length, least_past), rows)
        self._send_inputs(side, chunk, length, past)
        self._run(past, region)
        cache.write_rows(slot, length, self._new_rows.address, self._row_pitch_bytes, 1)
        for result in results:
            result.fetch(side)

    def _send_inputs(self, side: int, chunk: Chunk, length: int, past: int) -> None:
        host, visual = self._block.host(side), int(chunk.embed_index_S[0])
        host["input_ids"][0] = chunk.ids_S[0]
        host["embed_index"][0] = 0 if visual >= 0 else -1
        host["position_ids"][0] = length
        host["logits_index"][0] = 0
        mask = host["attention_mask"]
        mask[:length] = 0
        mask[length:past] = HIDDEN
        mask[past] = 0
        self._block.upload(side, last="attention_mask", count=past + 1)
        if visual >= 0:
            self._device.upload(self._image.address, chunk.image_embeds_TD[visual])

    def _run(self, past: int, region: Region) -> None:
        shaped = self._shaped_for(past)
        if graph := _take_latest(self._graphs, (past, region)):
            graph.launch()
            return
        if shaped.bound != region:
            for plane, name in enumerate(self._spec.past_names):
                shaped.executor.bind(name, region.at(plane, 0))
            shaped.bound = region
        shaped.executor.enqueue()  # the step itself; also what settles the shapes before a capture
        if self._cuda_graphs:
            if len(self._graphs) >= self._most_graphs:
                self._device.synchronize()  # the least recently used may still be running
                del self._graphs[next(iter(self._graphs))]
            self._graphs[past, region] = self._capture(shaped.executor)

    def _capture(self, executor: Executor) -> Graph:
        try:
            return self._device.capture(executor.enqueue)
        except OVError as err:
            message, hint = f"a step can't be captured: {err.message}", "take a recipe with cuda_graphs = no"
            raise OVError(err.code, message, hint) from err

    def _shaped_for(self, past: int) -> _Shaped:
        if found := _take_latest(self._shaped, past):
            return found
        executor = self._idle.pop() if self._idle else self._least_used_executor()
        sizes = {"batch": 1, "sequence": 1, "rows": 1, "image_tokens": 1, "past": past, "total": past + 1}
        set_shapes(executor, self._spec.inputs, sizes)
        self._shaped[past] = _Shaped(executor=executor)
        return self._shaped[past]

    def _least_used_executor(self) -> Executor:
        """Taken from its past, whose graphs go: they hold its shapes."""
        self._device.synchronize()  # one of them may still be running
        past = next(iter(self._shaped))
        self._graphs = {key: graph for key, graph in self._graphs.items() if key[0] != past}
        return self._shaped.pop(past).executor

    def _new_executor(self) -> Executor:
        """With all bound but the past."""
        executor = self._plan.executor(STEP, self._scratch)
        for name in ("input_ids", "embed_index", "position_ids", "logits_index", "attention_mask"):
            executor.bind(name, self._block.address(name))
        executor.bind("image_embeds", self._image.address)
        for plane, name in enumerate(self._spec.new_names):
            executor.bind(name, self._new_rows.address + plane * self._row_pitch_bytes)
        self._outputs.bind(executor)
        return executor


def rounded_past(length: int, most: int) -> int:
    """Rows of the past that a step sees: a multiple of PAST_STEP, at most an eighth more beyond 2,048, within `most`.

    Up to 32,768 tokens there are 40 of them.
    """
    step = max(PAST_STEP, 1 << max(0, length.bit_length() - 4))
    return min(most, max(1, -(-length // step)) * step)


def num_rounded_pasts(most: int) -> int:
    """How many values `rounded_past` has within `most`."""
    return len({rounded_past(length, most) for length in range(0, most + 1, PAST_STEP)})


def _take_latest(kept: dict[Key, Item], key: Key) -> Item | None:
    """The item, which becomes the latest used; None if it is not there."""
    if key not in kept:
        return None
    kept[key] = kept.pop(key)
    return kept[key]
