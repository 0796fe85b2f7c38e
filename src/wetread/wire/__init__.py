"""Moves bytes to and from other machines; knows no pixels.  The only room that opens sockets to peers.

::

    dimse       the door: `echo`, `send`, `Listener`, `Received`
    requestor   the side that asks for an association (SCU)
    acceptor    the side that grants one (SCP): C-ECHO, C-STORE, N-CREATE and N-SET
    query       what an archive has: C-FIND                     PS3.4 Annex C
    retrieve    fetches it: C-GET and C-MOVE                    PS3.4 Annex C
    notices     what others tell: IAN, MPPS, commitments        PS3.4 Annexes R, F and J
    commit      asks for storage commitment                     PS3.4 Annex J
    access      who may call
    guard       sockets that have not yet asked for an association
    transport   PDUs on a socket, with every length checked before it is read
    tls         certificates around a connection                PS3.15 Section B.12
    associate   the association PDUs                            PS3.8 Section 9.3
    command     DIMSE command sets                              PS3.7 Section 6.3.1
    part10      files and the three UIDs of an encoded object   PS3.10 Section 7.1
"""
