"""An audit as a report: one page of HTML that a statistician and a regulator can read, and the same content as JSON."""

from analyses.report.data import ReportData
from analyses.report.findings import Finding, findings
from analyses.report.output import as_json, check_path, page_and_json, write_report
from analyses.report.page import report

__all__ = ["Finding", "ReportData", "as_json", "check_path", "findings", "page_and_json", "report", "write_report"]
