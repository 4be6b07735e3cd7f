"""Every architecture through every CPU runtime, at lengths where no branch is idle.

At the reference defaults (length 60, window 60, block 64) windows never cut and the linear branch never runs; so
here windows are shorter than the sequence, blocks are at least three, and lengths divide by nothing.
"""

from pathlib import Path

import pytest

from temport.exporter.build import build, save
from temport.exporter.declare.architectures import declare
from temport.exporter.parity.cases import default_cases
from temport.exporter.parity.run import run_parity
from temport.exporter.runtimes import load
from temport.exporter.runtimes.subject import Subject

RUNTIMES = (
    "torch_float32",
    "onnx_reference",
    "op_reference",
    "onnxruntime_cpu",
    "onnxruntime_native",
    "openvino",
)
NARROW = ("embed_dim=10", "hidden_size=16", "num_layers=2")
WIDE = ("embed_dim=10", "hidden_size=128", "num_layers=2")
WINDOWED = ("embed_dim=10", "num_heads=2", "head_dim=8", "ffn_dim=12", "window_size=7")
LIGHTNING = (*NARROW, "num_heads=2", "block_size=9", "feature_map=elu1")
HYBRID = ("embed_dim=10", "lstm_hidden=12", "lstm_layers=2", "num_heads=2", "head_dim=8")

MODELS = {
    "sliding_window-T41": ("sliding_window", WINDOWED, {"seq": "41"}),
    "sliding_window-T1": ("sliding_window", WINDOWED, {"seq": "1"}),
    "sliding_window-dynamic": ("sliding_window", WINDOWED, {"seq": "1:20:61"}),
    "attention-T23": (
        "attention",
        ("embed_dim=10", "hidden_size=16", "num_heads=4", "window_size=5"),
        {"seq": "23"},
    ),
    "hybrid-T23": ("hybrid", HYBRID, {"seq": "23"}),
    "hybrid_mlp-dynamic": ("hybrid_mlp", (*HYBRID, "mlp_sizes=6,3"), {"seq": "1:20:61"}),
    "mega-T41": ("mega", NARROW, {"seq": "41"}),
    "mega-dynamic": ("mega", NARROW, {"seq": "1:20:61"}),
    "mega-laplace-T23": ("mega", (*NARROW, "laplace_attention=true"), {"seq": "23"}),
    "mega-l1-T23": ("mega", (*NARROW, "attention_kernel=l1"), {"seq": "23"}),
    "lightning-T41": ("lightning", LIGHTNING, {"seq": "41"}),
    "lightning-dynamic": ("lightning", LIGHTNING, {"seq": "1:20:61"}),
    "lightning-unnormalised-T41": ("lightning", (*LIGHTNING, "normalizer=none"), {"seq": "41"}),
    # wide enough for the op of dense layers over one row, which there is where the batch is 1
    "attention-wide-T23": ("attention", (*WIDE, "num_heads=4", "window_size=7"), {"seq": "23", "batch": "1"}),
    "mega-wide-T60": ("mega", ("embed_dim=10", "num_layers=1"), {"seq": "60", "batch": "1"}),
    "lightning-wide-T23": (
        "lightning",
        (*WIDE, "block_size=9", "feature_map=elu1"),
        {"seq": "23", "batch": "1"},
    ),
    "hybrid-wide-T23": (
        "hybrid",
        ("embed_dim=10", "lstm_hidden=128", "num_heads=2"),
        {"seq": "23", "batch": "1"},
    ),
    "dms-masked-T7-S41": ("dms", ("hid_dim=16", "n_heads=4"), {"seq": "7", "memory": "41"}),
    "dms-causal-T23-S9": ("dms", ("hid_dim=16", "n_heads=4", "masked=false"), {"seq": "23", "memory": "9"}),
    "dms-dynamic": ("dms", ("hid_dim=16", "n_heads=4"), {"seq": "1:7:30", "memory": "1:20:41"}),
}


CUSTOM = [pytest.param(name, "custom", 20, id=name) for name in MODELS]
# dynamic standard graphs hold the same forms as the bodies of dynamic custom ones
STANDARD = [
    pytest.param(n, "standard", 23, id=f"{n}-standard") for n in MODELS if n.endswith(("T41", "T23", "S9"))
]


@pytest.mark.parametrize(("name", "dialect", "opset"), [*CUSTOM, *STANDARD])
def test_all_runtimes_agree_with_the_oracle(tmp_path: Path, name: str, dialect: str, opset: int) -> None:
    arch, options, axes = MODELS[name]
    declaration, module, _ = declare(arch, options, **({"batch": "1:2:5"} | axes), ops=dialect, opset=opset)
    built = build(module, declaration)
    save(built, tmp_path / "model.onnx", external_data=False)
    subject = Subject(declaration, tmp_path / "model.onnx", module)
    report = run_parity(subject, default_cases(declaration), [load(runtime) for runtime in RUNTIMES])
    assert report.passed, report.reasons
    custom = any(node.domain == "temport" for node in built.model.graph)
    expected = dict.fromkeys(RUNTIMES, "pass")
    if not custom:  # nothing for our kernels or op definitions to do
        expected |= dict.fromkeys(("op_reference", "onnxruntime_native"), "not run")
    assert {row.name: row.verdict for row in report.runtimes} == expected


def test_ill_conditioned_default_of_lightning_is_told(tmp_path: Path) -> None:
    """identity with key_sum over several blocks: the warning is there, and no case is called a pass unjudged."""
    options = tuple(o for o in LIGHTNING if not o.startswith("feature_map"))
    declaration, module, _ = declare("lightning", options, seq="41")
    built = build(module, declaration)
    assert any("ill-conditioned" in warning for warning in built.warnings)
    save(built, tmp_path / "model.onnx", external_data=False)
    subject = Subject(declaration, tmp_path / "model.onnx", module)
    report = run_parity(subject, default_cases(declaration), [load("onnxruntime_cpu")])
    for case, result in zip(report.cases, report.runtimes[0].results, strict=True):
        assert (result.verdict == "pass") <= case.bounds["output"].judgeable
        assert case.bounds["output"].conditioning is not None
