"""Compilers, one file per artifact kind; `compile` builds an engine from an exported model."""

from exporter.compilers.compile import COMPILERS, compile_model, ready_backend
from exporter.compilers.contract import CompileError, CompileOptions, EngineReport

__all__ = ["COMPILERS", "CompileError", "CompileOptions", "EngineReport", "compile_model", "ready_backend"]
