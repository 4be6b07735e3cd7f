"""ONNX schema of FusedGRU, domain `temport`, version 1, registered when imported."""

from temport.custom_ops.recurrent_layer import recurrent_schema

GATES = 3
_DOC = """The GRU (Cho et al. 2014) of ai.onnx with one forward direction, the default activations and
linear_before_reset = 1, which is torch's, in that operator's layouts: z and r are sigmoid(W x + R h + both biases),
n = tanh(Wh x + Wbh + r (Rh h + Rbh)), and the next h is (1 - z) n + z h. Gates are stacked z, r, h."""
SCHEMA = recurrent_schema("FusedGRU", _DOC, gates=GATES, states=1)
