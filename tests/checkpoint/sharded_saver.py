"""One of two gloo processes that save a model of DTensors: python sharded_saver.py RANK FOLDER SEED.

The configuration is in FOLDER/config.pickle. Saves twice: into FOLDER/whole, and under a name where process 0 cannot
write. Prints the message of that error. Imports neither transformers nor FSDP, which take longer than all the rest.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

sys.path.append(str(Path(__file__).resolve().parents[2]))


def main(rank: int, folder: Path, seed: int) -> None:
    from ovengines.errors import OVError
    from ovexport.checkpoint import save_checkpoint
    from ovexport.model import OneVision

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    torch.manual_seed(seed)
    model = OneVision(pickle.loads((folder / "config.pickle").read_bytes()))
    mesh = init_device_mesh("cpu", (2,))
    for name, parameter in list(model.named_parameters()):
        module, _, leaf = name.rpartition(".")
        sharded = distribute_tensor(parameter.detach(), mesh, [Shard(0)])  # as FSDP2 does; not all divide by two
        setattr(model.get_submodule(module), leaf, torch.nn.Parameter(sharded))
    for target in (folder / "whole", folder / "a file" / "checkpoint"):
        try:
            save_checkpoint(
                model, target, tokenizer_json=b"{}", chat_template="", max_shard_bytes=20_000, write=rank == 0
            )
        except OVError as err:
            print(err.message)
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # torch 2.13's gloo threads now and then abort a process whose interpreter is being taken down


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
