"""The DICOM conformance statement (PS3.2), from the tables that the code itself works by.

``wetread conformance --out docs/reference`` writes its two pages; a test compares them with the code.

::

    page        fills the statement's text with the tables
    tables      services, associations, statuses, searches, settings
    objects     the attributes of the objects that we create
    specimens   results from which such objects are made
    statement.md, objects.md    the text around the tables
"""

from wetread.serve.conformance.page import pages

__all__ = ["pages"]
