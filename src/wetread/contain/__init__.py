"""Contain: what came from outside is parsed and decoded in processes of its own, with limits.

Decoders are C code that reads what a stranger wrote.  A file that makes one of them crash, loop or
grow ends a child and nothing else; the child is thought of as taken over, so that what it says is
checked before it is believed:

- `wetread.contain.children`: the processes, and who ends them;
- `wetread.contain.child`: what runs in one;
- `wetread.contain.handover`: studies on their way back, as JSON and plain arrays, never pickles;
- `wetread.contain.volumes`: where the slices of a volume lie, for the service to read them from there;
- `wetread.contain.header`: the attributes of an image on that way;
- `wetread.contain.decoder`: the same three functions as `wetread.acquire`, in a child;
- `wetread.contain.ahead`: studies that are decoded while they arrive;
- `wetread.contain.viewer`, `wetread.contain.shown`: headers and pictures for viewers, and a child that makes them;
- `wetread.contain.copier`, `wetread.contain.copied`: copies without the patient, by a child that knows no secret;
- `wetread.contain.process`, `wetread.contain.talk`: one child, and what is said over its socket;
- `wetread.contain.limits`: memory, time and files of a child.
"""
