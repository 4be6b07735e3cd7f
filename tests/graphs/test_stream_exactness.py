"""How exact a stream is follows from the layers of a model, and from nothing that is said of the model."""

import pytest
import torch

from temport import graphs
from temport.graphs import streaming
from temport.graphs.position import PositionalEncoding


class Both(torch.nn.Module):
    """Positions that count from 0 again, and attention over all earlier frames."""

    def __init__(self, window):
        super().__init__()
        self.position = PositionalEncoding(4)
        self.attention = graphs.self_attention(hidden_size=4)
        if window:
            self.attention = graphs.sliding_window_attention(window_size=3, num_heads=1, head_dim=4)


WINDOWED = "exact for the first --seq frames; from then on with a window of --seq frames"
COUNTED = "2,097,152 frames"


@pytest.mark.parametrize(
    "model, phrase",
    [
        (Both(window=False), f"{WINDOWED}; after {COUNTED} positions count from 0 again"),
        (Both(window=True), f"exact for {COUNTED}; from then on positions count from 0 again"),
        (graphs.self_attention(hidden_size=4), WINDOWED),
        (graphs.sliding_window_attention(window_size=3, num_heads=1, head_dim=4), "exact, however long"),
        (
            graphs.build_lightning_attention(hidden_size=4, num_heads=1),
            "exact, however long; past the first block its linear branch is at work, whatever --seq is",
        ),
    ],
    ids=["both", "positions", "horizon", "window", "blocks"],
)
def test_layers_say_how_exact_a_stream_is(model, phrase):
    assert streaming.exactness(model) == phrase
