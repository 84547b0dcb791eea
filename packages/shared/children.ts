// Child processes that outlive neither this process nor their time.

import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process"
import type { Readable, Writable } from "node:stream"

export type Child = ChildProcessByStdio<Writable | null, Readable | null, Readable>

// A shell that is told of every child's start and end. Its input ends with this process, however that
// ends, and then it kills the children that are left, each with whatever it has started.
const WATCH = `live=
while read -r what pid; do
  left=
  for p in $live; do [ "$p" = "$pid" ] || left="$left $p"; done
  live=$left
  [ "$what" = start ] && live="$live $pid"
done
for p in $live; do kill -9 -"$p"; done`

let watcher: ChildProcess | undefined

function tell(what: "start" | "end", pid: number): void {
  if (!watcher) {
    watcher = spawn("/bin/sh", ["-c", WATCH], { detached: true, stdio: ["pipe", "ignore", "ignore"] })
    // Without a watcher, children still end at their time.
    watcher.on("error", () => {})
    watcher.stdin?.on("error", () => {})
    watcher.unref()
    ;(watcher.stdin as { unref?: () => void } | null)?.unref?.()
  }
  watcher.stdin?.write(`${what} ${pid}\n`)
}

/** Starts a program in a process group of its own: a Ctrl-C of the terminal is not for it. It writes to the file `stdout`, or to this process, and reads the file `stdin`, or what this process writes. */
export function start(program: string, args: string[], options: { cwd: string; env: Record<string, string | undefined>; shell?: boolean }, stdout?: number, stdin?: number): Child {
  const isWindows = process.platform === "win32"
  const child = spawn(program, args, { ...options, detached: !isWindows, windowsHide: true, stdio: [stdin ?? "pipe", stdout ?? "pipe", "pipe"] }) as Child
  const { pid } = child
  if (pid !== undefined && !isWindows) {
    tell("start", pid)
    child.on("close", () => tell("end", pid))
  }
  return child
}

/** Kills a child and whatever it has started. */
export function kill(child: Child): void {
  try {
    if (child.pid === undefined) child.kill("SIGKILL")
    else if (process.platform !== "win32") process.kill(-child.pid, "SIGKILL")
    // Windows has no process groups. Git's `git.exe` starts the one that works.
    else spawn("taskkill", ["/pid", String(child.pid), "/t", "/f"], { stdio: "ignore", windowsHide: true }).on("error", () => child.kill("SIGKILL"))
  } catch {
    // It has ended.
  }
}
