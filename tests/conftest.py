"""What all tests share."""

import os

import torch

# Matrices of this size gain nothing from several threads, and lose much where the processor has other work.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
