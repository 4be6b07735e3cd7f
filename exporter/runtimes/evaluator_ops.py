"""Operators that ONNX's evaluator has otherwise than ONNX defines them, for all that evaluates a graph with it."""

from __future__ import annotations

from onnx.reference.op_run import OpRun

from temport.exporter.runtimes.control_flow import CONTROL_FLOW
from temport.exporter.runtimes.log_softmax import LOG_SOFTMAX
from temport.exporter.runtimes.masked_attention import MASKED_ATTENTION
from temport.exporter.runtimes.quantise import QUANTISE
from temport.exporter.runtimes.recurrent_layers import RECURRENT

EVALUATOR_OPS: list[type[OpRun]] = [*CONTROL_FLOW, *RECURRENT, *MASKED_ATTENTION, *LOG_SOFTMAX, *QUANTISE]
