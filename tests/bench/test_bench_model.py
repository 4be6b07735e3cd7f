"""`temport bench model`: peers compute our numbers, what computes others is not timed, the files hold it all."""

import json
from xml.etree import ElementTree

import pytest
import torch

from temport.exporter.bench import model, model_contenders
from temport.exporter.bench.model import run
from temport.exporter.bench.model_contenders import CONTENDERS, OURS
from temport.exporter.bench.model_plain import plain
from temport.exporter.bench.model_profile import by_operator, nodes_in
from temport.exporter.bench.options import shape_of, thread_counts
from temport.exporter.errors import UserError
from tests.small_models import SMALL


@pytest.mark.parametrize("length", [1, 23])
# the contenders have softmax attention only: of another kernel they have other numbers, and are not timed
@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("mega-laplace", "mega-l1")])
def test_plain_model_is_the_same_function(name: str, length: int) -> None:
    declaration, module = SMALL[name].declare(batch="2", seq=str(length))
    inputs = [torch.from_numpy(x) for x in model_contenders.make_inputs(declaration).values()]
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    module = module.double()
    with torch.no_grad():
        ours, theirs = module(*inputs), plain(module, length)(*inputs)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-13 * float(ours.abs().max()))


def test_run_times_and_writes(tmp_path) -> None:
    chosen = ["torch eager", "ONNX Runtime", "OpenVINO"]
    report = run(
        ["hybrid"], [(2, 9)], threads=(1,), seconds=0.02, contenders=chosen, settings=HYBRID, streams=False
    )
    (result,) = report.results
    assert {row.name for row in result.rows} | set(result.left_out) == {*OURS, *chosen}
    assert {OURS[1], "torch eager", "ONNX Runtime"} <= {row.name for row in result.rows}
    assert result.fastest_peer is not None and result.fastest_peer.name in chosen
    assert 0 < result.flops < result.traced_flops and "FusedLSTM" in result.profile
    numbers, picture = report.write(tmp_path)
    (stored,) = json.loads(numbers.read_text())["results"]
    assert stored["arch"] == "hybrid" and stored["rows"][0]["timing"]["median"] > 0
    texts = [text.text for text in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert "hybrid, batch 2, length 9, threads 1" in texts


HYBRID = ("embed_dim=6", "lstm_hidden=8", "num_heads=2", "head_dim=4")


def test_a_contender_with_other_numbers_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = CONTENDERS["torch eager"]
    monkeypatch.setitem(
        CONTENDERS, "torch eager", lambda work, threads: lambda: right(work, threads)() * 1.001
    )
    report = run(
        ["hybrid"],
        [(1, 5)],
        threads=(1,),
        seconds=0.01,
        contenders=["torch eager"],
        settings=HYBRID,
        streams=False,
    )
    (result,) = report.results
    assert "computes something else" in result.left_out["torch eager"]
    assert result.fastest_peer is None


def test_compiled_peers_only_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = CONTENDERS["torch eager"]
    monkeypatch.setitem(CONTENDERS, "torch.compile", eager)
    shapes = [(1, 4), (1, 5)]
    first, second = run(
        ["hybrid"],
        shapes,
        threads=(1,),
        seconds=0.01,
        contenders=["torch.compile"],
        settings=HYBRID,
        streams=False,
    ).results
    assert "torch.compile" in {row.name for row in first.rows}
    assert "not compiled for this shape" in second.left_out["torch.compile"]


def test_our_own_export_must_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "STRAY", 0)
    with pytest.raises(UserError, match="our own export was not timed"):
        run(["hybrid"], [(1, 5)], threads=(1,), seconds=0.01, contenders=["torch eager"], settings=HYBRID)


def test_profile_sums_medians_by_operator() -> None:
    def event(name: str, op: str, dur: float, cat: str = "Node") -> dict:
        return {"cat": cat, "name": f"{name}_kernel_time", "args": {"op_name": op}, "dur": dur}

    events = [event("a", "Gemm", d) for d in (1, 2, 90)] + [event("b", "Gemm", 5), event("c", "Add", 9)]
    events.append({"cat": "Session", "name": "model_run", "dur": 1000})
    assert by_operator(nodes_in(events)) == {"Add": 9.0, "Gemm": 7.0}


@pytest.mark.parametrize("text", ["60", "0x60", "1x", "1x60x2", "-1x60"])
def test_bad_shape_says_what_is_right(text: str) -> None:
    with pytest.raises(UserError, match="BATCHxLENGTH, such as 32x256"):
        shape_of(text)


@pytest.mark.parametrize("text", ["", "0", "1,,2", "two"])
def test_bad_threads_say_what_is_right(text: str) -> None:
    with pytest.raises(UserError, match="such as 1,2"):
        thread_counts(text)


def test_unknown_contender_names_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown contender 'tvm'; known: .*OpenVINO"):
        run(["hybrid"], [(1, 5)], contenders=["tvm"])
