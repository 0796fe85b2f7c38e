"""Moves bytes to and from other machines; knows no pixels.  The only room that opens sockets to peers.

::

    dimse       the door: `echo`, `send`, `Listener`, `Received`
    requestor   the side that asks for an association (SCU)
    acceptor    the side that grants one (SCP): C-ECHO, C-STORE, N-CREATE and N-SET
    query       what an archive has: C-FIND                     PS3.4 Annex C
    worklist    what a worklist says of an order: C-FIND        PS3.4 Annex K
    retrieve    fetches it: C-GET and C-MOVE                    PS3.4 Annex C
    notices     what others tell: IAN, MPPS, commitments        PS3.4 Annexes R, F and J
    commit      asks for storage commitment, reports on ours    PS3.4 Annex J
    commitment  what is asked of us, and what we report
    webstore    sends by STOW-RS                                PS3.18 Section 10.5
    fhir        sends transactions, searches                    FHIR R4, RESTful API
    servicerequest what a FHIR server says of an order          FHIR R4, ServiceRequest
    smart       gets tokens for it                              SMART App Launch 2.2
    https       connections of both                             RFC 9110
    mllpstore   sends by MLLP                           HL7 v2.5.1 Sections 2.9.2, 2.9.3
    stow        what is said of what came by it
    qido        searches and their answers                      PS3.18 Section 10.6
    queryable   the attributes of an object that are searched
    multipart   bodies of several parts, while they arrive      RFC 2046
    media       media types and what is accepted                PS3.18 Section 8.7
    native      data sets as XML                                PS3.19 Annex A
    hl7         HL7 v2 messages, read and written       HL7 v2.5.1 Chapter 2
    mllp        their framing                           HL7 v2.5.1 Appendix C
    mllp_listen takes messages: the HL7 port
    acknowledge what is said of a message: AA, AE, AR   HL7 v2.5.1 Section 2.9
    web         who may use DICOMweb
    webhook     posts signed JSON                       Standard Webhooks 1.0.0
    access      who may call
    guard       sockets that have not yet asked for an association
    transport   PDUs on a socket, with every length checked before it is read
    tls         certificates around a connection                PS3.15 Section B.12
    associate   the association PDUs                            PS3.8 Section 9.3
    command     DIMSE command sets                              PS3.7 Section 6.3.1
    attributes  data sets from keywords, and back
    glance      a few attributes of an encoded object
    implicit    data sets in the default transfer syntax        PS3.5 Section 10.1
    part10      files and the three UIDs of an encoded object   PS3.10 Section 7.1
"""
