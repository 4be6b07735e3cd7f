"""What comes of streams of tests/trials: which are causal, and what stops the others."""

from __future__ import annotations

from dataclasses import dataclass

FRAMES = "frames=batch,seq,"


@dataclass(frozen=True)
class TrialAnswer:
    """A trial as a stream.

    breaks   the path of the layer that is named where it does not stream; empty: it streams
    delay    by how many frames its output must be late to stream
    why      a part of the sentence, where it is no layer that stops it
    missing  it is causal, and is refused with this part of a sentence: there is no rule for it yet
    seq      its horizon, or the one length that it is made for
    """

    file: str
    shapes: tuple[str, ...]
    breaks: str = ""
    delay: int | None = None
    why: str = ""
    missing: str = ""
    seq: int = 9
    factory: str = "make"

    @property
    def streams(self) -> bool:
        return not self.breaks and not self.why and not self.missing

    def __str__(self) -> str:
        return f"{self.file}:{self.factory}"


TRIAL_ANSWERS = (
    TrialAnswer("alibi_linear", (FRAMES + "64",)),
    TrialAnswer("band_sdpa", (FRAMES + "64",), seq=20),
    TrialAnswer("encoder_causal", ("obs=batch,seq,24",)),
    TrialAnswer("gru_only", (FRAMES + "20",)),
    TrialAnswer("half_module", ("frames:float16=batch,seq,16",)),
    TrialAnswer("gru_stateful_layer", (FRAMES + "10",)),
    TrialAnswer("lstm_attention", (FRAMES + "16",)),
    TrialAnswer("rotary_lazy", (FRAMES + "64",)),
    TrialAnswer("sdpa_is_causal", (FRAMES + "64",)),
    TrialAnswer("selective_scan", (FRAMES + "16",), seq=12),
    TrialAnswer("tcn_stream", (FRAMES + "12",)),
    TrialAnswer(
        "decision_transformer",
        ("states=batch,seq,17", "actions=batch,seq,6", "returns=batch,seq,1", "timesteps:int64[0:200]=batch,seq",
         "valid:bool[prefix]=batch,seq"),
    ),
    TrialAnswer("bilstm_floats", (FRAMES + "12",), "lstm"),
    TrialAnswer("bilstm_tokens", ("tokens:int64[0:200]=batch,seq",), "lstm"),
    TrialAnswer("encoder_padding", ("clip=batch,seq,16", "padding:bool[prefix,ignore]=batch,seq"),
                "encoder.layers.0.self_attn"),
    TrialAnswer("gru_attention_last", (FRAMES + "20",), "attention"),
    TrialAnswer("gru_attention_last", (FRAMES + "20",), "front", 2, factory="make_frames"),
    TrialAnswer("mha_weights", (FRAMES + "40",), "attention"),
    TrialAnswer("own_layers_inside", (FRAMES + "20",), "front", 1),
    TrialAnswer("project/model", (FRAMES + "12",), "attention"),
    TrialAnswer("sdpa_without_heads", (FRAMES + "16",), why="attention"),
    TrialAnswer("informer", ("series=batch,seq,32",), why="freezes axis seq"),
    TrialAnswer("patchtst", ("series=batch,seq,7",), why="freezes axis seq", seq=64),
    TrialAnswer("action_ids", (FRAMES + "20",), why="carries nothing"),
    TrialAnswer("dataclass", (FRAMES + "12",), why="carries nothing"),
    TrialAnswer("mlp_policy", ("obs=batch,12",), why="time"),
)  # fmt: skip
"""Left out: recurrent_policy, which is a step model by its own word; and what no export takes
(data_dependent, fft_convolution, packed_lengths, sampling_policy)."""
