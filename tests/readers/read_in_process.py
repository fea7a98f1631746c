"""
A process that reads in all the ways asked for, alone and as a rank, and prints which sentences it got.

Loader workers inside pytest's own process hang or fail, so that the tests start this instead:
`python -m tests.readers.read_in_process '{"rank": 0, "world_size": 2, "rendezvous": "file:///...", "cases": {...}}'`.
"""

import copy
import json
import sys

import torch.distributed
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.data.data_loaders import MultiProcessDataLoader

import structkd_plugin.readers  # noqa: F401 - registers what the configurations name


def lines_read(reader, paths, loader, epochs):
    """For each epoch, the sentences by file and line, from the batches as a model would get them."""
    data_loader = MultiProcessDataLoader(DatasetReader.from_params(Params(reader)), paths, **loader)
    vocab = Vocabulary()
    vocab.add_token_to_namespace("O", "labels")
    data_loader.index_with(vocab)
    return [
        [
            f"{metadata['file'].rpartition('/')[2]}:{metadata['line']}"
            for batch in data_loader
            for metadata in batch["metadata"]
        ]
        for _ in range(epochs)
    ]


def main(asked):
    def read_all():
        return {name: lines_read(**copy.deepcopy(case)) for name, case in asked["cases"].items()}

    # A process of its own first, then the same process as a rank: starting one is what takes time.
    alone = read_all()
    torch.distributed.init_process_group(
        "gloo", init_method=asked["rendezvous"], rank=asked["rank"], world_size=asked["world_size"]
    )
    print(json.dumps({"alone": alone, "as_rank": read_all()}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
