"""The passes of an export as data: what runs, for which declaration, after what, and why."""

from __future__ import annotations

from collections.abc import Sequence

from temport.exporter.declare.declaration import HALF
from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.passes.absorb_keys import absorb_keys
from temport.exporter.passes.absorb_projections import absorb_projections
from temport.exporter.passes.attach_bodies import attach_bodies
from temport.exporter.passes.bake_positions import bake_positions
from temport.exporter.passes.compress_weights import compress_weights
from temport.exporter.passes.flat_frames import flat_frames
from temport.exporter.passes.flatten_rows import flatten_rows
from temport.exporter.passes.fold_factors import fold_factors
from temport.exporter.passes.fused_dense import fused_dense
from temport.exporter.passes.fused_recurrent import fused_recurrent
from temport.exporter.passes.join_reshapes import join_reshapes
from temport.exporter.passes.limit_lengths import limit_lengths
from temport.exporter.passes.moving_average import moving_average
from temport.exporter.passes.precision import lower_precision
from temport.exporter.passes.prune import prune
from temport.exporter.passes.read_attention import read_attention
from temport.exporter.passes.recognise_attention import recognise_attention
from temport.exporter.passes.recognise_block_linear import recognise_block_linear
from temport.exporter.passes.recognise_norm import recognise_norm
from temport.exporter.passes.residual_layer_norm import residual_layer_norm
from temport.exporter.passes.round_activations import round_activations
from temport.exporter.passes.spell_attention import spell_attention
from temport.exporter.passes.spell_dense import spell_dense
from temport.exporter.passes.to_standard import to_standard
from temport.exporter.passes.work import ALL_PRECISIONS, FLOAT32, Pass, Work, compressed
from temport.exporter.trace.clean import clean


def _absorb_projections(work: Work) -> bool:
    return absorb_projections(work.model, new_weights=not compressed(work.declaration))


def _absorb_keys(work: Work) -> bool:
    return absorb_keys(work.model, new_weights=not compressed(work.declaration))


def _compress_weights(work: Work) -> bool:
    if not compressed(work.declaration):
        return False
    return compress_weights(work.model, work.declaration.weights_dtype, work.notes)


def _prune(work: Work) -> bool:
    axes = work.declaration.axes.values()
    return prune(work.model, {axis.name: axis.min for axis in axes if axis.name != "batch"}, work.notes)


def _limit_lengths(work: Work) -> bool:
    return limit_lengths(work.model, work.declaration)


def _lower_precision(work: Work) -> bool:
    work.half = lower_precision(work.model, work.declaration.precision, work.notes)
    return True


def _to_standard(work: Work) -> bool:
    masks = to_standard(work.model, work.declaration)
    work.masks += masks
    return bool(masks)


def _attach_bodies(work: Work) -> bool:
    work.masks += attach_bodies(work.model, work.declaration)
    return bool(work.model.functions)


def _clean(work: Work) -> bool:
    clean(work.model)
    return True


SIMPLIFYING = (
    Pass(
        name="read_attention",
        run=lambda work: read_attention(work.model, work.notes),
        why="Attention of an ONNX file is read as torch's attention, where it says no more",
    ),
    Pass(
        name="recognise_block_linear",
        run=lambda work: recognise_block_linear(work.model, work.declaration, work.notes),
        why="attention in blocks with linear attention across them is our op, where it is the same in numbers",
        after=("read_attention",),
    ),
    Pass(
        name="recognise_attention",
        run=lambda work: recognise_attention(work.model, work.declaration, work.notes),
        why="attention in plain torch is our op, where it can be proved to be the same",
        after=("recognise_block_linear",),  # which looks for attention inside blocks
    ),
    Pass(
        name="spell_attention",
        run=lambda work: spell_attention(work.model, work.declaration),
        why="other attention of torch becomes operators of ONNX",
        after=("recognise_attention",),
        optional=False,
    ),
    Pass(
        name="bake_positions",
        run=lambda work: bake_positions(work.model, work.declaration, work.notes),
        why="tables of positions that scores are made of are constants",
        after=("spell_attention",),
    ),
    Pass(
        name="recognise_norm",
        run=lambda work: recognise_norm(work.model, work.declaration, work.notes),
        why="normalisation written by hand is one node, where it is the same in numbers",
    ),
    Pass(
        name="spell_dense",
        run=lambda work: spell_dense(work.model, new_weights=not compressed(work.declaration)),
        why="every dense layer is written in one way, which the passes after it know",
    ),
    Pass(
        name="fold_factors",
        run=lambda work: fold_factors(work.model),
        why="constant factors go into the weights beside them",
        after=("spell_dense",),
        precisions=ALL_PRECISIONS - {"float16"},  # whose range a weight that was scaled can leave
        new_weights=True,
    ),
    Pass(
        name="prune", run=_prune, why="what cannot reach the output is not computed", after=("spell_dense",)
    ),
    Pass(
        name="absorb_projections",
        run=_absorb_projections,
        why="attention of one query reads the keys' source, no key and no value is projected",
        after=("prune",),
    ),
    Pass(
        name="absorb_keys",
        run=_absorb_keys,
        why="attention of one head projects no keys: the product of two weights makes its queries",
        after=("absorb_projections",),
    ),
    Pass(
        name="moving_average",
        run=lambda work: moving_average(work.model),
        why="two causal convolutions between transposes are one op",
        dialects=frozenset({"custom"}),
        precisions=FLOAT32,
        after=("prune",),
    ),
    Pass(
        name="flatten_rows",
        run=lambda work: flatten_rows(work.model, work.notes),
        why="dense layers take their rows on one axis, with the bias inside",
        after=("absorb_keys", "moving_average"),
    ),
    Pass(
        name="flat_frames",
        run=lambda work: flat_frames(work.model),
        why="one frame of a stream is one row",
        after=("flatten_rows",),
    ),
    Pass(
        name="join_reshapes",
        run=lambda work: join_reshapes(work.model),
        why="reshapes in a chain are one",
        after=("flatten_rows", "flat_frames"),
    ),
)
"""They change what is computed, not what it gives: after them the work of a model is counted."""

RECOGNISING = tuple(
    step
    for step in SIMPLIFYING
    if step.name
    not in ("prune", "absorb_projections", "absorb_keys", "flatten_rows", "flat_frames", "join_reshapes")
)
"""What a graph of sequences goes through before a step model is made of it: those that need no end of time."""

WRITING = (
    Pass(
        name="limit_lengths",
        run=_limit_lengths,
        why="the graph itself refuses a length outside its range",
        after=("join_reshapes",),  # which would take the checks for reshapes that rename nothing
        optional=False,
    ),
    Pass(
        name="lower_precision",
        run=_lower_precision,
        why="matrix products and attention compute in the half type",
        precisions=frozenset(HALF),
        after=("limit_lengths",),
        optional=False,
    ),
    Pass(
        name="to_standard",
        run=_to_standard,
        why="our ops become operators of ONNX",
        dialects=frozenset({"standard"}),
        after=("lower_precision",),
        optional=False,
    ),
    Pass(
        name="fused_dense",
        run=lambda work: fused_dense(work.model),
        why="a dense layer and what follows it row by row are one op",
        dialects=frozenset({"custom"}),
        after=("flatten_rows", "join_reshapes", "lower_precision"),
    ),
    Pass(
        name="fused_recurrent",
        run=lambda work: fused_recurrent(work.model, work.notes),
        why="an LSTM or a GRU keeps its weights packed",
        dialects=frozenset({"custom"}),
        after=("lower_precision",),
    ),
    Pass(
        name="residual_layer_norm",
        run=lambda work: residual_layer_norm(work.model),
        why="a layer normalisation takes the sum before it along",
        dialects=frozenset({"custom"}),
        after=("recognise_norm", "fused_dense"),  # which takes the same sums first
    ),
    Pass(
        name="compress_weights",
        run=_compress_weights,
        why="weights of dense and recurrent layers are stored in few bits, with their scales",
        precisions=FLOAT32,
        after=("to_standard", "fused_dense", "fused_recurrent", "residual_layer_norm"),
        optional=False,
    ),
    Pass(
        name="round_activations",
        run=lambda work: bool(work.declaration.input_scales) and round_activations(work.model),
        why="inputs of dense layers are rounded to int8, which kernels multiply as integers",
        precisions=FLOAT32,
        after=("compress_weights",),
        optional=False,
    ),
    Pass(
        name="attach_bodies",
        run=_attach_bodies,
        why="each op of ours gets a body that any runtime can run",
        dialects=frozenset({"custom"}),
        after=("fused_dense", "fused_recurrent", "residual_layer_norm", "round_activations"),
        optional=False,
    ),
    Pass(
        name="clean",
        run=_clean,
        why="nothing in the file tells where it was made",
        after=("to_standard", "attach_bodies"),
        optional=False,
    ),
)
"""They give the result its dialect and its element type."""

PASSES = (*SIMPLIFYING, *WRITING)


def check_order(passes: Sequence[Pass]) -> None:
    """ValueError where two passes share a name, or one stands before a pass that it has to follow."""
    seen: set[str] = set()
    names = {step.name for step in passes}
    for step in passes:
        if step.name in seen:
            raise ValueError(f"two passes are called {step.name}")
        for earlier in step.after:
            if earlier not in names:
                raise ValueError(f"{step.name} comes after {earlier}, which is no pass")
            if earlier not in seen:
                raise ValueError(f"{step.name} has to come after {earlier}")
        seen.add(step.name)


check_order(PASSES)


def way_out(name: str) -> str:
    """What a user can do where a pass goes wrong, as the end of a sentence."""
    optional = any(step.optional for step in PASSES if step.name == name)
    return f"leave it out with --without {name}" if optional else "no file can do without it"


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """`--without` in the order of the passes; UserError for one that is not there or that no file can do without."""
    passes = {step.name: step for step in PASSES}
    for name in names:
        if name not in passes:
            raise UserError(f"--without {name!r} is no pass; {did_you_mean(name, passes)}")
        if not passes[name].optional:
            raise UserError(f"--without {name} is not possible: {passes[name].why}, and a file needs that")
    return tuple(name for name in passes if name in names)
