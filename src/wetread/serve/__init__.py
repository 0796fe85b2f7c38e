"""Doors for people and machines: the node, its HTTP endpoints, and a small receiver of results.

::

    run         a node in service, with the models of its settings
    node        one process: DICOM port, jobs, HTTP port
    http        /health, /ready, /metrics, /studies/{uid}
    metrics     what is counted, in Prometheus's text format
    logs        structured logs without patient identifiers
    receiver    takes objects into a folder: stands in for a PACS
"""
