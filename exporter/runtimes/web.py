"""onnxruntime-web: WebAssembly in a headless Chromium, on the function bodies."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from temport.exporter.runtimes.node import JS, find_javascript
from temport.exporter.runtimes.onnxruntime_cpu import CAPABILITIES
from temport.exporter.runtimes.runner import Found, RunnerRuntime


def find() -> Found:
    """A browser ($TEMPORT_BROWSER, else chromium on the PATH) and onnxruntime-web from deploy/js."""
    browser = os.environ.get("TEMPORT_BROWSER", "chromium")
    if shutil.which(browser) is None:
        return Found(missing=f"{browser} is not installed; name a Chromium in $TEMPORT_BROWSER")
    return find_javascript("onnxruntime-web", JS / "web" / "temport-run.mjs")


RUNTIME = RunnerRuntime(
    "web", replace(CAPABILITIES, intermediates=False, streams=False, whole_streams=True), find
)
