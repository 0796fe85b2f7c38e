"""A study survives a power cut: receipt, states, reading, outbox, retries.

::

    states      the words a job goes through, and which may follow which
    spool       blobs on disk, named by their SHA-256
    lanes       how urgent a study is, and what is served first
    tables      what the index holds
    index       its database: SQLite, or PostgreSQL by URL
    store       blobs and index together; its parts, in each every durable step is one method:
    instances       what arrived
    studies         jobs on their way to a result
    parcels         documents and images on their way to destinations
    commitments     what destinations commit themselves to keep
    requests        what peers ask us to commit ourselves to
    held            what of all this viewers may search and fetch
    removals        studies whose blobs may go
    worklist        work items that others put on our list
    subscriptions   who is told of them
    tasks           those that this node performs
    leases          what one of several processes has taken for itself
    overview        counts and ages, for people and metrics
    desk        what a person asks and tells: list, show, retry, cancel
    moves       how a job changes its state
    locks       who may use the folder
    opening     what is compared, and what is rebuilt, when a store is opened
    room        whether one more object may come in
    receipt     acknowledges only what is on disk; many objects share one commit
    completion  when a study is complete
    announced   what was announced of a study: numbers and notices
    panel       peers that are asked one after the other, until one tells
    asking      archives that are asked where nothing was announced
    priors      earlier studies that a rule wants, and who waits for them
    pulling     brings them from archives
    orders      worklists that are asked how urgent an order is
    fetching    archives that send what is to be read
    performer   work items: claimed, read, ended
    managed     the lists of other managers, from which work is claimed
    expecting   what was announced, held against what arrives
    worker      reads complete studies
    addressing  who gets what
    aside       answers for the studies that were given up
    retry       when to try again
    delivery    one outbox for each destination, with its own retry clock and breaker
    committing  asks destinations to commit themselves
    reporting   tells peers what we commit ourselves to
    strain      what is left out, step by step, while studies are late
    retention   what is deleted when
    explained   what the rules decide for a study, and why
    watch       what metrics and log are told
    failpoints  where a test may cut the power
    loop        a thread that works while there is something to do
    runner      the threads that keep all of this going
"""
