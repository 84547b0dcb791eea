# One context of the interpreter: reads a request a line, runs it in the same globals as those before, and says a
# message a line on what was its standard output. What code prints, and what its children print, comes through pipes.
import codecs, json, os, sys, threading, traceback

said = os.fdopen(os.dup(1), "w")
asked = os.fdopen(os.dup(0), "r")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
lock = threading.Lock()
END = b"\0" + os.urandom(16).hex().encode() + b"\0"


def say(kind, **fields):
    with lock:
        said.write(json.dumps({"type": kind, **fields}) + "\n")
        said.flush()


def carry(kind, fd):
    """Says what is written to a descriptor; gives the event that the end of a request has come through."""
    source, sink = os.pipe()
    os.dup2(sink, fd)
    os.close(sink)
    ended = threading.Event()

    def run():
        left, decoder = b"", codecs.getincrementaldecoder("utf-8")("replace")
        while data := os.read(source, 65536):
            left += data
            at = left.find(END)
            # The beginning of an end that is not there yet.
            cut = at if at >= 0 else len(left) - max(n for n in range(len(END)) if left.endswith(END[:n]))
            if text := decoder.decode(left[:cut]):
                say(kind, text=text)
            left = left[cut:]
            if at >= 0:
                left = left[len(END) :]
                ended.set()

    threading.Thread(target=run, daemon=True).start()
    return ended


ends = {1: carry("stdout", 1), 2: carry("stderr", 2)}
sys.stdin, sys.stdout, sys.stderr = open(0), os.fdopen(1, "w", 1, errors="replace"), os.fdopen(2, "w", 1, errors="replace")
scope = {"__name__": "__main__", "__builtins__": __builtins__}


def run(code):
    try:
        exec(compile(code, "<code>", "exec"), scope)
    except KeyboardInterrupt:
        return "interrupted"
    except BaseException as error:
        lines = traceback.format_exception(type(error), error, error.__traceback__.tb_next)
        say("error", name=type(error).__name__, value=str(error), traceback="".join(lines))
    return "completed"


while line := asked.readline():
    request = json.loads(line)
    before = dict(os.environ)
    os.environ.update(request["envs"])
    result = run(request["code"])
    os.environ.clear()
    os.environ.update(before)
    for fd, ended in ends.items():
        (sys.stdout, sys.stderr)[fd - 1].flush()
        ended.clear()
        os.write(fd, END)
        ended.wait()
    say("control", text=result)
