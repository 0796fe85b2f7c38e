"""Every number we claim, as runnable programs.

May change freely: a protocol, a statistic.  Must not: be imported by a stage.
"""
