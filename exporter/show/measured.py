"""What running tells of the nodes: times in ONNX Runtime, and the error of each tensor in a runtime."""

from __future__ import annotations

from temport.exporter.bench.model_profile import by_node
from temport.exporter.bundle.directory import Bundle
from temport.exporter.errors import UserError
from temport.exporter.graph import body_domains
from temport.exporter.parity.bisect import run_exposed, tensor_errors
from temport.exporter.parity.compare import EPS
from temport.exporter.parity.graph_oracle import evaluate
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.scorecard.run import task_of
from temport.exporter.scorecard.worker import feed_of

PLAIN = "onnxruntime_cpu"


def inputs_of(bundle: Bundle) -> Arrays:
    """The first recorded inputs; of a step model a frame in the middle of a stream, with its state."""
    runtime = runtime_named(PLAIN)
    task = task_of(bundle, None, None)
    if not bundle.declaration.streaming:
        return task.inputs
    with runtime.open(Subject(bundle.declaration, bundle.model_path), 1) as session:
        return feed_of(bundle.declaration, runtime, session, task)


def times(bundle: Bundle, inputs: Arrays) -> tuple[dict[str, float], float]:
    """Microseconds by the names of nodes that ONNX Runtime runs as they are, and those of all other nodes that it runs:
    what it made of several, of a function's body, or for itself.
    """
    own = {node.name for node in body_domains.read_model(bundle.model_path).graph.node if node.name}
    found, others = {}, 0.0
    for (name, _), microseconds in by_node(bundle.model_path, inputs, 1).items():
        if name in own:
            found[name] = microseconds
        else:
            others += microseconds
    return found, others


def errors(bundle: Bundle, inputs: Arrays, name: str) -> dict[str, tuple[float, float]]:
    """(error, allowed) by the names of tensors, in the runtime `name`. UserError where it cannot show them."""
    runtime, declaration = runtime_named(name), bundle.declaration
    if reason := runtime.unavailable() or runtime.capabilities.refusal(declaration):
        raise UserError(f"{name} cannot show its tensors: {reason}")
    if not runtime.capabilities.intermediates:
        raise UserError(f"{name} does not show tensors inside the graph; choose another one, such as {PLAIN}")
    subject = Subject(declaration, bundle.model_path)
    model = body_domains.read_model(bundle.model_path)
    exact = evaluate(model, inputs, double=True)
    rounded = evaluate(model, inputs, double=False)
    got = run_exposed(subject, runtime, model, list(exact), inputs)
    eps = EPS[declaration.precision]
    return {tensor: (error, allowed) for tensor, error, allowed in tensor_errors(exact, rounded, got, eps)}
