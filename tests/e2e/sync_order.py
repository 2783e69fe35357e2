"""What a process does to the log's files before `track` returns: a preloaded C library notes it, in order.

The library stands before libc's `write`, `pwrite`, `fsync` and `fdatasync` and appends one line per call that succeeded
to a trace. The script `tracked.py` writes marks around each call of the engine, so the trace says what lies between.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int trace_fd = -1;

static ssize_t real_write(int fd, const void *buf, size_t n) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return real(fd, buf, n);
}

static void note(const char *call, int fd, const void *text, size_t n) {
    char link[64], path[4096], line[4400];
    if (trace_fd < 0) {
        const char *name = getenv("SYNC_TRACE");
        if (!name) return;
        trace_fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (trace_fd < 0) abort();
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return;
    path[len] = 0;
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    int mark = strcmp(base, "marks") == 0;
    if (!mark && strncmp(base, "log.sqlite3", 11) != 0 && strcmp(base, "head") != 0) return;
    int shown = mark ? (int)n - 1 : 0;
    int out = snprintf(line, sizeof line, "%s %s %.*s\n", call, base, shown, mark ? (const char *)text : "");
    if (real_write(trace_fd, line, (size_t)out) != out) abort();
}

ssize_t write(int fd, const void *buf, size_t n) {
    ssize_t out = real_write(fd, buf, n);
    if (out >= 0 && fd != trace_fd) note("write", fd, buf, n);
    return out;
}

#define PWRITE(NAME, OFFSET)                                                             \
    ssize_t NAME(int fd, const void *buf, size_t n, OFFSET at) {                         \
        static ssize_t (*real)(int, const void *, size_t, OFFSET);                       \
        if (!real) real = (ssize_t (*)(int, const void *, size_t, OFFSET))dlsym(RTLD_NEXT, #NAME); \
        ssize_t out = real(fd, buf, n, at);                                              \
        if (out >= 0) note("write", fd, buf, n);                                         \
        return out;                                                                      \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(NAME)                                                                       \
    int NAME(int fd) {                                                                   \
        static int (*real)(int);                                                         \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #NAME);                         \
        int out = real(fd);                                                              \
        if (out == 0) note("sync", fd, "", 0);                                           \
        return out;                                                                      \
    }
SYNC(fsync)
SYNC(fdatasync)
"""

WAL, HEAD = "log.sqlite3-wal", "head"


class Call(NamedTuple):
    """One system call on a file of the log: `write` or `sync`, or a `mark` of the script."""

    what: str
    file: str


def build_tracer(directory: Path) -> Path:
    """Compile the library with `cc`, which building the engine's core needs too."""
    source, library = directory / "tracer.c", directory / "tracer.so"
    source.write_text(_SOURCE)
    compiler = shutil.which("cc") or "cc"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


def read_trace(trace: Path) -> list[Call]:
    """The calls that the library noted."""
    calls = []
    for line in trace.read_text().splitlines():
        what, file, text = line.split(" ", 2)
        calls.append(Call("mark", text.strip()) if file == "marks" else Call(what, file))
    return calls


_BEGUN = re.compile(r'^(\d+) +(\w+)\(\d+<([^>]*)>(?:, "([^"\\]*)\\n")?')
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>")
_DONE = re.compile(r"= \d+$")


def read_strace(trace: Path) -> list[Call]:
    """The same from `strace -f -y -o`, which cuts a call in two when another thread calls meanwhile. A call counts when
    it has returned without an error."""
    calls: list[Call] = []
    cut: dict[str, Call] = {}
    for line in trace.read_text().splitlines():
        if begun := _BEGUN.match(line):
            thread, name, path, text = begun.groups()
            file = Path(path).name
            call = Call("mark", text) if file == "marks" else Call("write" if "write" in name else "sync", file)
        elif resumed := _RESUMED.match(line):
            thread = resumed[1]
            call = cut.pop(thread)
        else:
            continue
        if line.endswith("<unfinished ...>"):
            cut[thread] = call
        elif _DONE.search(line) and (call.what == "mark" or call.file.startswith(("log.sqlite3", HEAD))):
            calls.append(call)
    return calls


def faults(calls: list[Call]) -> list[str]:
    """What is wrong between each `before N` and `after N`. Right is: the frames to the write-ahead log, its sync, the
    head record, its sync."""
    out = []
    spans = _spans(calls)
    for number, span in spans.items():
        order = [span.index(call) if call in span else None for call in _wanted()]
        if None in order:
            absent = [f"{call.what} of {call.file}" for call, at in zip(_wanted(), order, strict=True) if at is None]
            out.append(f"call {number}: no {', no '.join(absent)}")
        elif order != sorted(order, key=lambda at: at or 0):
            out.append(f"call {number}: wrong order: {span}")
        elif _last(span, Call("write", WAL)) > _last(span, Call("sync", WAL)):
            out.append(f"call {number}: the write-ahead log is written after its last sync")
        elif _last(span, Call("write", HEAD)) > _last(span, Call("sync", HEAD)):
            out.append(f"call {number}: the head record is written after its last sync")
        elif _last(span, Call("write", WAL)) > span.index(Call("write", HEAD)):
            out.append(f"call {number}: the head record is written before the frames")
        elif _last(span, Call("sync", WAL)) > span.index(Call("write", HEAD)):
            out.append(f"call {number}: the head record is written before the frames are synced")
    return out if spans else ["no marks: nothing was traced"]


def _wanted() -> list[Call]:
    return [Call("write", WAL), Call("sync", WAL), Call("write", HEAD), Call("sync", HEAD)]


def _last(span: list[Call], call: Call) -> int:
    return len(span) - 1 - span[::-1].index(call)


def _spans(calls: list[Call]) -> dict[str, list[Call]]:
    spans: dict[str, list[Call]] = {}
    number = None
    for call in calls:
        if call.what == "mark":
            edge, name = call.file.split()
            number = name if edge == "before" else None
            if number is not None:
                spans[number] = []
        elif number is not None:
            spans[number].append(call)
    return spans
