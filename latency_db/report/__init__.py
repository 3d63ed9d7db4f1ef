"""The correlation report: a picture, a page, and the same figures as JSON."""

from latency_db.report.data import NetworkResult, OperatorShare, ReportData, report_json

__all__ = ["NetworkResult", "OperatorShare", "ReportData", "report_json"]
