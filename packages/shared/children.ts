// Child processes that outlive neither this process nor their time.

import { type ChildProcessByStdio, spawn } from "node:child_process"
import { openSync, unlinkSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable, Writable } from "node:stream"

export type Child = ChildProcessByStdio<Writable | null, Readable | null, Readable>

// A shell that has the list of the children as its descriptor 3. Its input ends with this process, however
// that ends, and then it kills the children that are listed, each with whatever it has started. A list,
// because what is written to a pipe leaves Bun only after the running tick (1.3, December 2026), and a kill
// in that tick would leave a child behind.
const WATCH = `while read -r _; do :; done
while read -r p; do [ -z "$p" ] || kill -9 -"$p"; done <&3`

/** Bytes of a line of the list: a process id, or blanks, and the end of the line. */
const LINE = 12

/** The children that live, each with a line of its own in a file that only its descriptors name. */
class Watched {
  readonly #list: number
  readonly #free: number[] = []
  #lines = 0

  constructor() {
    const path = join(tmpdir(), `opencode-daytona-children-${process.pid}-${crypto.randomUUID()}`)
    this.#list = openSync(path, "wx+", 0o600)
    unlinkSync(path)
    const watcher = spawn("/bin/sh", ["-c", WATCH], { detached: true, stdio: ["pipe", "ignore", "ignore", this.#list] })
    // Without a watcher, children still end at their time.
    watcher.on("error", () => {})
    watcher.stdin?.on("error", () => {})
    watcher.unref()
    ;(watcher.stdin as { unref?: () => void } | null)?.unref?.()
  }

  /** Gives the line of the child. */
  add(pid: number): number {
    const line = this.#free.pop() ?? this.#lines++
    this.#write(line, String(pid))
    return line
  }

  remove(line: number): void {
    this.#write(line, "")
    this.#free.push(line)
  }

  /** At a position, so that the watcher, which shares the file, reads from its beginning. */
  #write(line: number, text: string): void {
    writeSync(this.#list, `${text.padEnd(LINE - 1)}\n`, line * LINE)
  }
}

let watched: Watched | undefined

/** Has a child killed if this process ends before it; gives what ends that. */
function watch(pid: number): () => void {
  try {
    const list = (watched ??= new Watched())
    const line = list.add(pid)
    return () => list.remove(line)
  } catch {
    // A full disk, say: the child still ends at its time.
    return () => {}
  }
}

/** Starts a program in a process group of its own: a Ctrl-C of the terminal is not for it. It writes to the file `stdout`, or to this process, and reads the file `stdin`, or what this process writes. */
export function start(program: string, args: string[], options: { cwd: string; env: Record<string, string | undefined>; shell?: boolean }, stdout?: number, stdin?: number): Child {
  const isWindows = process.platform === "win32"
  const child = spawn(program, args, { ...options, detached: !isWindows, windowsHide: true, stdio: [stdin ?? "pipe", stdout ?? "pipe", "pipe"] }) as Child
  const { pid } = child
  if (pid !== undefined && !isWindows) {
    child.on("close", watch(pid))
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
