"""Every option of every architecture does something, or a sentence says why not."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from temport.exporter.declare.architectures import declare, rebuild
from temport.exporter.declare.construct import seeded
from temport.exporter.declare.options import as_settings, configure, options
from temport.exporter.errors import UserError
from temport.exporter.export import export
from temport.exporter.parity.result import PASS
from temport.graphs.architecture import Architecture
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SMALL, SmallModel

LENGTH = 41
OPTIONS = [
    (arch.name, field.name) for arch in ARCHITECTURES.values() for field in dataclasses.fields(arch.config)
]


def others(arch: Architecture, option: str, value: Any) -> Iterator[Any]:
    """Values of an option's type that are not its own."""
    (field,) = (field for field in dataclasses.fields(arch.config) if field.name == option)
    kinds = typing.get_type_hints(arch.config)[option]
    kind = next(k for k in (typing.get_args(kinds) or (kinds,)) if k is not type(None))
    if "choices" in field.metadata:
        candidates: tuple[Any, ...] = field.metadata["choices"]
    elif kind is bool:
        candidates = (True, False)
    elif kind is float:
        candidates = (0.5,)
    elif kinds == tuple[int, ...]:
        candidates = ((3,),)
    else:
        candidates = (4, 16, 1)
    return (candidate for candidate in candidates if candidate != value)


def what_it_is(arch: Architecture, config: Any) -> list[Any]:
    """Inputs, parameters, outputs for the same seed, and outputs in training."""
    module, told = seeded(lambda: arch.build(config), 0)
    x = SmallModel(arch, "", dataclasses.asdict(config)).inputs(batch=2, seq=LENGTH)
    found: list[Any] = [told, *arch.inputs(config)]
    found += [(name, tensor.shape) for name, tensor in module.state_dict().items()]
    with torch.random.fork_rng(), torch.no_grad():
        for training in (False, True):
            torch.manual_seed(1)
            found.append(module.train(training)(*x).numpy().tobytes())
    return found


def what_changes(small: SmallModel, option: str) -> tuple[bool, list[str]]:
    """Whether some other value changes the model, and what the refusals of values say.

    Another option that was given may overrule it (hidden_size does head_dim), so each is left out in turn.
    """
    refusals = []
    required = set(small.arch.example)
    for left_out in (None, *(set(small.options) - required - {option})):
        given = {name: value for name, value in small.options.items() if name != left_out}
        try:
            before, _ = configure(small.arch, as_settings(given), seq_len=LENGTH)
        except UserError:  # some need each other
            continue
        for value in others(small.arch, option, getattr(before, option)):
            settings = as_settings({**given, option: value})
            try:
                after, _ = configure(small.arch, settings, seq_len=LENGTH)
            except UserError as error:
                refusals.append(str(error))
                continue
            torch.manual_seed(0)
            one = what_it_is(small.arch, before)
            torch.manual_seed(0)
            if what_it_is(small.arch, after) != one:
                return True, refusals
            refusals.append("")
    return False, refusals


@pytest.mark.filterwarnings("ignore:block_size")
@pytest.mark.parametrize(("arch", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_changes_something_or_is_refused(arch: str, option: str) -> None:
    found = [what_changes(small, option) for small in SMALL.values() if small.arch.name == arch]
    if not any(changed for changed, _ in found):
        for _, refusals in found:  # every other value, each by a sentence about this option
            assert refusals and all(option in refusal or "--seq" in refusal for refusal in refusals), refusals


def test_an_option_that_does_nothing_is_seen() -> None:
    """The test above fails for one that is taken in silence."""
    mega = ARCHITECTURES["mega"]
    idle = dataclasses.make_dataclass(
        "Idle",
        [("idle", int, dataclasses.field(default=7, metadata={"help": "x"}))],
        bases=(mega.config,),
        frozen=True,
    )
    silent = SmallModel(replace(mega, config=idle), "", SMALL["mega-softmax"].options)
    changed, refusals = what_changes(silent, "idle")
    assert not changed and "" in refusals


@pytest.mark.parametrize("name", SMALL)
def test_options_are_shown_as_they_are_set(name: str) -> None:
    """What `temport list ARCH` shows is complete, and `--set` reads what it writes."""
    small = SMALL[name]
    for option in options(small.arch):
        assert option.type and option.default and option.help and "_" not in option.type
    assert set(small.arch.example) == {
        o.name for o in options(small.arch) if o.default.startswith("required")
    }
    config, notes = configure(small.arch, as_settings(small.options))
    assert config == small.config() and not notes
    again, _ = configure(small.arch, as_settings(dataclasses.asdict(config)))
    assert again == config


@pytest.mark.parametrize("name", ["hybrid", "hybrid_mlp", "mega-softmax", "lightning-elu1"])
def test_a_declaration_of_an_earlier_version_opens(name: str) -> None:
    """It may hold a window_size that was taken and did nothing."""
    declaration, module = SMALL[name].declare(seq="9")
    earlier = replace(declaration, options={**declaration.options, "window_size": 4})
    for mine, theirs in zip(rebuild(earlier).parameters(), module.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(UserError, match="do not fit this version"):
        rebuild(replace(declaration, options={**declaration.options, "window": 4}))


@pytest.mark.parametrize(
    ("name", "settings", "asked"),
    [
        ("dms-masked", ["mask_shape=111M"], {"batch": "1:2:5", "seq": "4", "memory": "1:7:9"}),
        ("dms-masked", ["mask_shape=B1LM"], {"batch": "1:2:5", "seq": "1:4:9", "memory": "1:7:9"}),
        ("dms-masked", ["mask_shape=11LM"], {"seq": "4", "memory": "7", "precision": "fp16"}),
        ("mega-softmax", ["attention_kernel=laplace_paper", "num_layers=1"], {"seq": "9"}),
        ("mega-softmax", ["attention_kernel=laplace_paper", "num_layers=1"], {"seq": "9", "streaming": True}),
    ],
    ids=lambda value: "-".join(map(str, value)) if not isinstance(value, str) else value,
)
@pytest.mark.parametrize(
    "runtimes",
    [
        pytest.param(("onnx_reference", "onnxruntime_cpu", "openvino"), id="of this process"),
        pytest.param((), id="every one", marks=pytest.mark.thorough),
    ],
)
def test_options_that_no_small_model_has(
    name: str, settings: list[str], asked: dict[str, Any], runtimes: tuple[str, ...], tmp_path: Path
) -> None:
    """From `--set` to a report."""
    small = SMALL[name]
    done = export(
        small.arch.name,
        settings=(*as_settings(small.options), *settings),
        runtimes=runtimes,
        out=tmp_path / "b",
        **asked,
    )
    assert done.passed, done.report.reasons
    ran = {row.name for row in done.report.runtimes if row.verdict == PASS}
    assert {"onnx_reference", "onnxruntime_cpu"} <= ran


def test_only_a_window_that_works_is_declared() -> None:
    windows = {
        name: SMALL[name].declare(seq="9")[0].window
        for name in ("attention", "mega-softmax", "lightning-elu1")
    }
    assert windows == {"attention": 7, "mega-softmax": 0, "lightning-elu1": 0}


def test_the_command_says_it_too() -> None:
    sentence = (
        "window_size is 4, and no value of it changes anything: every frame attends to all frames before it"
    )
    with pytest.raises(UserError, match=re.escape(sentence)):
        declare("mega", ["window_size=4"])
