"""What a good colleague says about data, base and machine before any GPU time is spent. No torch."""

from search.check.judging import judge, refuse
from search.check.report import Finding, Report

__all__ = ["Finding", "Report", "judge", "refuse"]
