"""Results at random over X-ray, CT and MR, and what other software says of their documents: docs/evidence/dicom.md.

::

    chance      results at random, each beside the files that it is about
    validators  dciodvfy, dcentvfy, dsrdump and our checker
    readers     highdicom and dcmqi read segmentations and maps back, pydicom the numbers of the report
    archive     there and back through Orthanc: C-STORE, STOW-RS, QIDO-RS, WADO-RS
    __main__    the command, and the page
"""
