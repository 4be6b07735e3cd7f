"""A model of one's own that does not keep the states it names is told so."""

import pytest
import torch

from temport.graphs import streaming


class Sloppy(torch.nn.Module, streaming.Stateful):
    """A model of one's own whose states are not what it does with them."""

    def __init__(self, uses, *names, counts=False):
        super().__init__()
        self.uses, self.names, self.counts_frames = uses, names, counts
        self.layer = torch.nn.Linear(6, 6)

    def state_specs(self):
        return tuple(streaming.StateSpec(name, (1, 6)) for name in self.names)

    def forward_sequence(self, x, memory):
        self.uses(memory, self)
        return self.layer(x)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            Sloppy(lambda memory, layer: memory.frames(), "a"),
            "no layer of the model has counts_frames = True",
        ),
        (Sloppy(lambda memory, layer: memory.read(layer, "a"), "a"), "did not write a after a frame"),
        (Sloppy(lambda memory, layer: None, "frames", counts=True), "two states named frames"),
    ],
)
def test_a_state_that_is_not_kept_is_named(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        streaming.step(model, torch.zeros(3, 1, 6), streaming.initial_state(model, 3))
