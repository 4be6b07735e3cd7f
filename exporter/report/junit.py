"""A report as JUnit XML: a suite per runtime, a test per case, as CI systems read it."""

from __future__ import annotations

import xml.etree.ElementTree as xml

from temport.exporter.parity.result import FAIL, NOT_RUN, PASS, ParityReport
from temport.exporter.report.html import matrix
from temport.exporter.terminal import printable


def junit(report: ParityReport) -> str:
    """The document. A runtime that was not run, and a case that cannot be judged, are skipped tests with the reason; a
    verdict that no case explains is a test of its own.
    """
    model = _plain(str(report.declaration["arch"]))
    root = xml.Element("testsuites", name=f"temport parity of {model}")
    for row, cells in matrix(report):
        runtime = _plain(row.name)
        suite = xml.SubElement(root, "testsuite", name=runtime)
        for case, cell in zip(report.cases, cells, strict=True):
            test = xml.SubElement(suite, "testcase", classname=f"{model}.{runtime}", name=_plain(case.name))
            verdict = FAIL if row.verdict == FAIL and not row.results else cell.verdict
            if verdict == FAIL:
                xml.SubElement(test, "failure", message=_plain(row.reason or cell.title))
            elif verdict != PASS:
                xml.SubElement(
                    test,
                    "skipped",
                    message=_plain(row.unjudged or row.reason if verdict == NOT_RUN else cell.title),
                )
        _count(suite)
    gate = xml.SubElement(root, "testsuite", name="gate")
    test = xml.SubElement(gate, "testcase", classname=model, name="parity gate")
    if not report.passed:
        xml.SubElement(test, "failure", message=_plain("; ".join(report.reasons)))
    _count(gate)
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _count(suite: xml.Element) -> None:
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
        suite.set(name, str(sum(1 for _ in suite.iter(tag))))


def _plain(text: str) -> str:
    """XML has no control characters, not even as references."""
    return printable(text).encode("utf-8", "replace").decode()
