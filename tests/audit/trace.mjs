// The process trace: what every process below OpenCode executes, and which canaries it opens.
//
// OpenCode is started under `strace -D`, so that the traced process is our child and the tracer is
// not. daytona-local and its sandboxes are children of the audit, not of OpenCode: nothing that a
// sandbox does is in the trace.

import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { eventually } from "../lib/world.mjs"

const CALLS = "trace=execve,execveat,open,openat,openat2,creat,clone,clone3,fork,vfork"

/** Whether processes can be traced here: strace is there, but a container may forbid it. */
export const canTrace = () => spawnSync("strace", ["-D", "-f", "--seccomp-bpf", "-q", "-e", CALLS, "-o", "/dev/null", "true"], { stdio: "ignore" }).status === 0

/** What to put in front of a program, so that its trace goes to `file`. */
export const under = (file) => ["strace", "-D", "-f", "--seccomp-bpf", "-q", "-s", "8192", "-e", CALLS, "-o", file]

/** Waits until the traced tree is gone, so that the trace is whole. */
export const whole = (file, pid) =>
  eventually(`the trace of process ${pid}`, () => new RegExp(`^${pid} +\\+\\+\\+ (exited|killed)`, "m").test(readFileSync(file, "utf8").slice(-200_000)))

/**
 * What a trace says, in order: `{ kind: "execute", path, line }` for each program that was started,
 * `{ kind: "read" | "write", path, by, line }` for each file that was opened. `by` is the program
 * that the process runs at that time.
 */
export function happened(file) {
  const events = []
  const program = new Map()
  const parent = new Map()
  const runs = (pid) => program.get(pid) ?? (parent.has(pid) ? runs(parent.get(pid)) : "")
  const waiting = new Map()
  for (const text of readFileSync(file, "utf8").split("\n")) {
    const [, pid, entry] = text.match(/^(\d+) +(.*)$/) ?? []
    if (!entry) continue
    // A thread that executes takes the place of its whole process: its call ends under another number.
    const superseded = entry.match(/^\+\+\+ superseded by execve in pid (\d+)/)
    if (superseded) {
      waiting.set(pid, waiting.get(superseded[1]))
      continue
    }
    let line = entry
    if (entry.endsWith("<unfinished ...>")) {
      waiting.set(pid, entry.slice(0, -"<unfinished ...>".length))
      continue
    }
    const resumed = entry.match(/^<\.\.\. \w+ resumed>(.*)$/)
    if (resumed) {
      line = (waiting.get(pid) ?? "") + resumed[1]
      waiting.delete(pid)
    }
    const [, call, args, result] = line.match(/^(\w+)\((.*)\) += (-?\d+)/) ?? []
    if (!call || Number(result) < 0) continue
    if (/fork|clone/.test(call)) {
      parent.set(result, pid)
      continue
    }
    const path = unquote(args.match(/"((?:[^"\\]|\\.)*)"/)?.[1] ?? "")
    if (call.startsWith("exec")) {
      program.set(pid, path)
      events.push({ kind: "execute", path, line: unquote(line) })
    } else if (!/O_PATH/.test(args)) {
      const kind = call === "creat" || /O_WRONLY|O_RDWR|O_CREAT|O_TRUNC/.test(args) ? "write" : "read"
      events.push({ kind, path, pid, program: program.get(pid) })
    }
  }
  // Only now: a child's first calls can stand before the line that says whose child it is.
  return events.map((event) => (event.pid ? { ...event, by: basename(event.program ?? runs(event.pid)) } : event))
}

// strace writes what is not ASCII in octal, and C's short forms.
function unquote(text) {
  const bytes = text.replace(/\\([0-7]{1,3}|.)/gs, (_, code) => (/^[0-7]/.test(code) ? String.fromCharCode(parseInt(code, 8)) : ({ n: "\n", t: "\t" }[code] ?? code)))
  return Buffer.from(bytes, "latin1").toString("utf8")
}
