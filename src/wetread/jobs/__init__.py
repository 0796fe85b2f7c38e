"""A study survives a power cut: receipt, states, reading, outbox, retries.

::

    states      the words a job goes through, and which may follow which
    spool       blobs on disk, named by their SHA-256
    tables      the index
    store       spool and index together: every durable step is one method
    receipt     acknowledges only what is on disk; many objects share one commit
    completion  when a study is complete
    worker      reads complete studies
    aside       answers for the studies that were given up
    delivery    one outbox for each destination, with its own retry clock
    runner      the threads that keep all of this going
"""
