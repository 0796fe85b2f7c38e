"""What we claim about records and orders, measured: ``make ehr`` writes docs/evidence/ehr.md.

Each section is a module with a function `run` that returns a `Section`; `page` puts them together.
"""
