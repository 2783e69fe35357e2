"""Processes that are killed under load, and what must be true of what they leave.

* `writer`: the process to be killed: threads that track, import, ask and snapshot, noting each acknowledgement.
* `rounds`: the other side: kills it at a drawn moment and compares the directory with the notes.
"""
