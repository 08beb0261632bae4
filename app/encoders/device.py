"""How many threads one forward pass takes."""

import torch


def use_threads(threads: int) -> None:
    """Give each forward pass that many threads; 0 leaves torch's own choice, every core."""
    if threads:
        torch.set_num_threads(threads)
