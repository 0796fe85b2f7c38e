"""`make torture`: a node is killed again and again, and its disk loses power, and then every promise is checked.

::

    objects   what is sent: small objects whose reader is told what to do with them, and a real film
    cheap     a reader that makes small true documents at once
    process   a node in a process of its own, and a look into its state
    pacs      a receiving peer that remembers who every document was about, and DCMTK's
    seen      what a campaign saw
    lives     the campaign: start, send, kill, look, again
    checks    what must hold afterwards
    trace     every change to the disk that a real node made, in order, as the kernel saw it
    disk      a model of a disk that forgets what was not synced
    powercut  the campaign: cut the power at many places of one trace, and open what is left
    page      docs/evidence/torture.md
"""
