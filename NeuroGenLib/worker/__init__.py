"""Heavy work in a warm child process, through which panels use the models.

::

    with Worker() as worker:
        brain = worker.wait(worker.submit("atlas.generate", {"model": "bundled:fetal-sba", "age": 30.2}))

The parent's end is :mod:`client`, over one :mod:`child` process at a time; the child's end is :mod:`server`, started by
``python -m NeuroGenLib.worker``. Both use :mod:`protocol`, :mod:`scratch` and :mod:`process_tree`. The jobs are in
:mod:`jobs`; each gets a :mod:`context`.

The child reads one JSON object a line from stdin and answers with JSON lines on stdout; everything else that prints
goes to stderr. One job runs at a time, and models stay open between jobs. Requests::

    {"id": 3, "job": "atlas.slices", "arguments": {...}, "slot": "slider", "replaces": true}
    {"cancel": 3}
    {"quit": true}

Of the waiting requests of one slot the newest wins; with ``replaces`` the running one of that slot is cancelled too.
Answers::

    {"hello": {"protocol": 1, "pid": 4711, "versions": {...}, "jobs": [...]}}
    {"id": 3, "progress": 0.4, "message": "..."}        the first one, 0, says that the job has started
    {"id": 3, "result": ...}
    {"id": 3, "cancelled": true}
    {"id": 3, "error": {"kind": "...", "code": "...", "problem": "...", "remedy": "...", "traceback": "..."}}

Arrays lie in the scratch folder: ``{"npy": NAME}``, with ``"affine"`` (4x4, RAS mm) where they are volumes. The parent
deletes them. When stdin ends without ``quit`` the parent is gone, and the child deletes them itself.
"""

from __future__ import annotations

from NeuroGenLib.worker.client import JobHandle, Worker
from NeuroGenLib.worker.protocol import JobFailed

__all__ = ["JobFailed", "JobHandle", "Worker"]
