"""Torch on one thread: on shared cores its threads wait for each other longer than they work."""

import torch

torch.set_num_threads(1)
