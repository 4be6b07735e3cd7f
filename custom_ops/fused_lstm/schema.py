"""ONNX schema of FusedLSTM, domain `temport`, version 1, registered when imported."""

from temport.custom_ops.recurrent_layer import recurrent_schema

GATES = 4
_DOC = """The LSTM (Hochreiter and Schmidhuber 1997) of ai.onnx with one forward direction, no peepholes and the default
activations, in that operator's layouts: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c), gates stacked
i, o, f, g."""
SCHEMA = recurrent_schema("FusedLSTM", _DOC, gates=GATES, states=2)
