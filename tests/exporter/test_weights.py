"""Weights in: every tensor accounted for, nothing that runs code is opened."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from temport.exporter.declare import weights
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError

GOLDEN = Path(__file__).parent.parent / "golden"
MEGA = ("embed_dim=24", "num_layers=2", "hidden_size=32", "ema_dim=6")


def mega() -> tuple[torch.nn.Module, object]:
    _, module, config = declare("mega", MEGA)
    return module, config


def golden_parameters() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "mega.npz") as archive:
        return {k.removeprefix("param."): archive[k] for k in archive.files if k.startswith("param.")}


def test_reference_layout_gives_the_reference_output(tmp_path: Path) -> None:
    module, config = mega()
    save_file(golden_parameters(), tmp_path / "w.safetensors")
    weights.fill(module, tmp_path / "w.safetensors", "edifice", "mega", config)
    with np.load(GOLDEN / "mega.npz") as archive, torch.no_grad():
        error = np.abs(module(torch.from_numpy(archive["input"])).numpy() - archive["output"]).max()
    assert error < 1e-5


def test_own_layout_round_trip(tmp_path: Path) -> None:
    module, _ = mega()
    (tmp_path / "w.safetensors").write_bytes(weights.serialise(module))
    _, other, _ = declare("mega", MEGA, seed=1)
    assert weights.fingerprint(other) != weights.fingerprint(module)
    weights.fill(other, tmp_path / "w.safetensors", "own", "mega", None)
    assert weights.fingerprint(other) == weights.fingerprint(module)
    assert weights.serialise(other) == weights.serialise(module)


@pytest.mark.parametrize("damage", ["missing", "extra", "misshapen"])
@pytest.mark.parametrize("layout", ["own", "edifice"])
def test_misfits_are_named(tmp_path: Path, damage: str, layout: str) -> None:
    module, config = mega()
    if layout == "own":
        tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    else:
        tensors = golden_parameters()
    name = sorted(tensors)[-1]
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        name = "stowaway.kernel"
        tensors[name] = np.zeros(3, np.float32)
    else:
        tensors[name] = np.zeros((7, 7), np.float32)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        weights.fill(module, tmp_path / "w.safetensors", layout, "mega", config)


def test_pickle_is_refused_unopened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('the pickle ran')",)

    torch.save(Bomb(), tmp_path / "w.pt")
    with pytest.raises(UserError, match="no checkpoint of tensors alone"):
        weights.read(tmp_path / "w.pt")


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict"])
def test_a_checkpoint_of_tensors(key: str | None, tmp_path: Path) -> None:
    """As it is, inside what a training loop keeps, and under a prefix, in any float type."""
    tensors = {"net.w": torch.ones(2, dtype=torch.bfloat16), "net.b": torch.zeros(1), "other": torch.zeros(3)}
    torch.save(tensors if key is None else {key: tensors, "epoch": 3}, tmp_path / "w.ckpt")
    assert weights.read(tmp_path / "w.ckpt").keys() == tensors.keys()
    found = weights.read(tmp_path / "w.ckpt", "net.")
    assert found.keys() == {"w", "b"} and found["w"].tolist() == [1, 1]
    with pytest.raises(UserError, match=r"no tensor of .* begins with 'model.'; its first is 'net.w'"):
        weights.read(tmp_path / "w.ckpt", "model.")


def test_a_checkpoint_without_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no state_dict"):
        weights.read(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "content", [b"", b"\x10", b"\xff" * 64, b"{}" * 40], ids=["empty", "byte", "ff", "json"]
)
def test_broken_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="safetensors"):
        weights.read(tmp_path / "w.safetensors")


def test_truncated_file(tmp_path: Path) -> None:
    module, _ = mega()
    (tmp_path / "w.safetensors").write_bytes(weights.serialise(module)[:-5])
    with pytest.raises(UserError, match="not a complete safetensors file"):
        weights.read(tmp_path / "w.safetensors")


def test_nan_is_named(tmp_path: Path) -> None:
    save_file({"a.b": np.array([1, np.nan], np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"a\.b .* NaN"):
        weights.read(tmp_path / "w.safetensors")


class Masked(torch.nn.Module):
    """A layer and the float mask of a causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))


def test_a_buffer_may_hold_infinity(tmp_path: Path) -> None:
    """What an export wrote, its own reader takes."""
    module, other = Masked(), Masked()
    (tmp_path / "w.safetensors").write_bytes(weights.serialise(module))
    weights.fill(other, tmp_path / "w.safetensors", "own", "module", None)
    assert weights.fingerprint(other) == weights.fingerprint(module)


@pytest.mark.parametrize(
    ("name", "value"), [("layer.bias", np.inf), ("layer.bias", np.nan), ("mask", np.nan)]
)
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, name: str, value: float) -> None:
    module = Masked()
    with torch.no_grad():
        module.state_dict()[name][0] = value
    (tmp_path / "w.safetensors").write_bytes(weights.serialise(module))
    with pytest.raises(UserError, match=rf"{name} in .* holds (NaN|infinity)"):
        weights.fill(Masked(), tmp_path / "w.safetensors", "own", "module", None)


@pytest.mark.parametrize("letters", range(1, 257, 5))
def test_a_header_of_any_length_is_no_pickle(tmp_path: Path, letters: int) -> None:
    """A header of 128, 384, ... bytes begins with the byte 0x80, as a pickle does."""
    tensors = {"x" * letters: np.ones(2, np.float32)}
    save_file(tensors, tmp_path / "w.safetensors")
    assert weights.read(tmp_path / "w.safetensors").keys() == tensors.keys()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "w.safetensors").write_bytes(pickle.dumps({"x": [1.0] * 50}, protocol))
    with pytest.raises(UserError, match="pickled"):
        weights.read(tmp_path / "w.safetensors")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        weights.read(tmp_path / "nowhere.safetensors")
