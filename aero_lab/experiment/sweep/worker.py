"""A process that makes runs: one configuration a line comes in on standard input, one row a line goes out.

When the parent goes away, however it ended, so does this process.
"""

from __future__ import annotations

import json
import os
import queue
import threading

from .rows import make_row


def main() -> None:
    # What libraries print must not come between the rows.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    todo: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        # Not through sys.stdin, whose lock this thread would hold when the process wants to end.
        rest = b""
        while data := os.read(0, 1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                todo.put(line)
        os._exit(0)  # also in the middle of a run that nobody wants any more

    threading.Thread(target=listen, daemon=True).start()
    while True:
        job = json.loads(todo.get())
        row = make_row(job["config"], job["captures"])
        out.write(json.dumps(row).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
