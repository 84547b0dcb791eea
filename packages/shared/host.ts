// The machine, for the core: HTTP, files, git, clock. Every method does one thing and throws what
// the system throws; the core decides what it means. See `Host` in crates/host.

import { closeSync, constants, createWriteStream, lstatSync, openAsBlob, openSync, readSync, statSync } from "node:fs"
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, realpath, rename, rm, stat, utimes } from "node:fs/promises"
import { hostname, tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { pipeline } from "node:stream/promises"
import { type Child, kill, start } from "./children.js"

/** A JSON head with bytes behind it. */
export interface Framed {
  head: string
  body: Uint8Array
}

interface HttpCall {
  method: string
  url: string
  headers: [string, string][]
  timeoutMs: number
  maxBytes: number
  saveTo: [path: string, offset: number] | null
  json: string | null
  parts: { name: string; text: string | null; file: string | null; slice: [start: number, end: number] | null; bytes: number | null }[] | null
}

interface GitCall {
  args: string[]
  cwd: string
  env: [string, string][]
  keep: string[]
  timeoutMs: number
  stdinFile: [path: string, offset: number] | null
  stdoutFile: string | null
}

const MAX_STDERR = 64 * 1024
/** After so many bytes of a file memory is freed. */
const FREED = 64 * 1024 * 1024
const FIRST_LINE_MS = 5_000
/** No first line is longer. */
const LONGEST_LINE = 8192
/** How often the size of a program's output is looked at. */
const WATCH_MS = 200

class TooLarge extends Error {
  code = "TooLarge"
}

class CutShort extends Error {
  code = "CutShort"
}

class TimedOut extends Error {
  code = "ETIMEDOUT"
}

class NotMade extends Error {
  code = "NotMade"
}

/** The environment of this process without the variables of git that are not named. */
function environment(keep: string[]): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^GIT_/i.test(name) || keep.includes(name)))
}

/** A response's body as it comes; throws if it is longer than allowed or shorter than announced. */
async function* bodyOf(response: Response, maxBytes: number): AsyncGenerator<Uint8Array> {
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > maxBytes) throw new TooLarge(`more than ${maxBytes} bytes`)
    yield chunk
  }
  // Not every runtime notices. An encoded body is decoded by now and has another length.
  const announced = response.headers.has("content-encoding") ? null : response.headers.get("content-length")
  if (announced !== null && size < Number(announced)) throw new CutShort(`${size} of ${announced} bytes came`)
}

/** A file, or a slice of it, to be read while it is sent. */
async function upload(path: string, slice: [start: number, end: number] | null): Promise<Blob> {
  // Opened first: Bun opens it only while the request is under way, and then nobody knows what was sent.
  const size = await open(path).then(async (file) => {
    try {
      const found = await file.stat()
      if (found.isDirectory()) throw new NotMade(`${path} is a directory`)
      return found.size
    } finally {
      await file.close()
    }
  }).catch((error) => {
    throw new NotMade(error.message)
  })
  const [start, end] = slice ?? [0, size]
  // Bun cannot read nothing of a file.
  if (start >= Math.min(end, size)) return new Blob([])
  const whole = await openAsBlob(path)
  return slice === null ? whole : whole.slice(start, end)
}

/** A file whose reader begins at `start`. */
function openedAt(path: string, start: number): number {
  const file = openSync(path, "r")
  // Only reading moves a file's position.
  const piece = Buffer.alloc(Math.min(start, 64 * 1024))
  for (let left = start; left > 0; ) {
    const length = readSync(file, piece, 0, Math.min(left, piece.length), null)
    if (length === 0) break
    left -= length
  }
  return file
}

/** What needs no OpenCode. */
export class Machine {
  /** How to end what runs, by its number. */
  #running = new Map<number, () => void>()

  /** Ends a request or a git. */
  end(id: number): void {
    this.#running.get(id)?.()
  }

  async http(id: number, json: string, bytes: Uint8Array<ArrayBuffer>[]): Promise<Framed> {
    const ending = new AbortController()
    this.#running.set(id, () => ending.abort())
    return this.#http(json, bytes, ending.signal).finally(() => this.#running.delete(id))
  }

  async #http(json: string, bytes: Uint8Array<ArrayBuffer>[], ended: AbortSignal): Promise<Framed> {
    const call: HttpCall = JSON.parse(json)
    let headers: Headers
    try {
      ;({ headers } = new Request(call.url, { method: call.method, headers: new Headers(call.headers) }))
    } catch (error) {
      throw new NotMade(error instanceof Error ? error.message : String(error))
    }
    let body: string | FormData | undefined
    if (call.json !== null) {
      headers.set("content-type", "application/json")
      body = call.json
    } else if (call.parts !== null) {
      body = new FormData()
      for (const part of call.parts) {
        if (part.text !== null) body.append(part.name, part.text)
        else if (part.file !== null) body.append(part.name, await upload(part.file, part.slice), "file")
        else body.append(part.name, new Blob([bytes[part.bytes ?? 0] ?? new Uint8Array()]), "file")
      }
    }
    const signal = AbortSignal.any([AbortSignal.timeout(call.timeoutMs), ended])
    const response = await fetch(call.url, { method: call.method, headers, body, signal, redirect: "manual" }).catch((error) => {
      // Node wraps what the system said.
      throw error.cause ?? error
    })
    const chunks: Uint8Array[] = []
    const received = bodyOf(response, call.maxBytes)
    if (call.saveTo !== null && response.ok) {
      const [path, start] = call.saveTo
      await pipeline(received, createWriteStream(path, start > 0 ? { flags: "r+", start } : { mode: 0o600 }))
      // Bun holds what it was sent outside of its heap, and lets hundreds of megabytes wait to be freed.
      if (start > 0 && start % FREED === 0) (globalThis as { Bun?: { gc(now: boolean): void } }).Bun?.gc(true)
    }
    else for await (const chunk of received) chunks.push(chunk)
    return {
      head: JSON.stringify({ status: response.status, headers: [...response.headers] }),
      body: Buffer.concat(chunks),
    }
  }

  /** Fails with the resolver's code if there is no such host. */
  async lookup(name: string): Promise<void> {
    // Loaded when something is wrong: these modules would cost every start some milliseconds.
    const dns = await import("node:dns/promises")
    await dns.lookup(name)
  }

  usesProxies(): boolean {
    // Node does from version 24 on, if it is told to.
    return "bun" in process.versions || process.env["NODE_USE_ENV_PROXY"] === "1"
  }

  async firstLine(address: string, tls: boolean, text: string): Promise<string> {
    const [plain, secure] = await Promise.all([import("node:net"), import("node:tls")])
    const colon = address.lastIndexOf(":")
    const [host, port] = [address.slice(0, colon).replace(/^\[|\]$/g, ""), Number(address.slice(colon + 1))]
    return new Promise((resolve, reject) => {
      const socket = tls ? secure.connect({ host, port, servername: host }) : plain.connect({ host, port })
      let got = ""
      socket.setEncoding("latin1")
      socket.setTimeout(FIRST_LINE_MS, () => socket.destroy(new TimedOut("no first line")))
      socket.on("error", reject)
      socket.on("close", () => {
        const line = got.slice(0, LONGEST_LINE).split(/\r?\n/)[0]
        if (line) resolve(line)
        else reject(new CutShort("no first line"))
      })
      socket.on("data", (data) => ((got += data).includes("\n") || got.length > LONGEST_LINE) && socket.destroy())
      socket.write(text)
    })
  }

  async readPart(path: string, offset: number, length: number): Promise<Uint8Array> {
    const file = await open(path)
    try {
      const part = Buffer.alloc(Math.max(0, Math.min(length, (await file.stat()).size - offset)))
      let filled = 0
      while (filled < part.length) {
        const { bytesRead } = await file.read(part, filled, part.length - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return part.subarray(0, filled)
    } finally {
      await file.close()
    }
  }

  readFile(path: string): Promise<Uint8Array> {
    return readFile(path)
  }

  async replaceFile(path: string, content: Uint8Array): Promise<void> {
    await mkdir(dirname(path), { recursive: true })
    const temporary = `${path}.${process.pid}-${this.random().toString(16)}.tmp`
    try {
      const file = await open(temporary, "wx", 0o600)
      try {
        await file.writeFile(content)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
  }

  async createFile(path: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true })
    const file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600)
    await file.close()
  }

  async copyFile(from: string, to: string): Promise<void> {
    // Looked at first: what is copied is never older than its time says.
    const written = Math.floor((await stat(from)).mtimeMs)
    await copyFile(from, to)
    await utimes(to, new Date(written), new Date(written))
  }

  renameFile(from: string, to: string): Promise<void> {
    return rename(from, to)
  }

  removeFile(path: string): Promise<void> {
    return rm(path, { force: true })
  }

  async listDir(path: string): Promise<string[]> {
    try {
      return await readdir(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return []
      throw error
    }
  }

  async makeDir(path: string): Promise<void> {
    await mkdir(path, { recursive: true, mode: 0o700 })
  }

  async removeDir(path: string): Promise<void> {
    // Only temporary directories: a recursive removal takes no path from anywhere else.
    if (!basename(path).startsWith("opencode-daytona-")) throw new Error("not a temporary directory")
    await rm(path, { recursive: true, force: true })
  }

  realPath(path: string): Promise<string> {
    return realpath(path)
  }

  async fileSize(path: string): Promise<number> {
    return (await stat(path)).size
  }

  async fileSizes(dir: string, names: string[]): Promise<number[]> {
    // The core asks for a bounded number at a time: a promise for each file would cost more than the look.
    return names.map((name) => {
      try {
        const found = lstatSync(join(dir, name), { throwIfNoEntry: false })
        return found?.isFile() ? found.size : 0
      } catch {
        // What was a directory is a file now, or cannot be looked into.
        return 0
      }
    })
  }

  async modified(path: string): Promise<number> {
    return (await stat(path)).mtimeMs
  }

  async git(id: number, json: string, stdin: Uint8Array, listener?: (text: string) => void): Promise<Framed> {
    const call: GitCall = JSON.parse(json)
    const env = { ...environment(call.keep), LC_ALL: "C", GIT_TERMINAL_PROMPT: "0", ...Object.fromEntries(call.env) }
    // Git reads and writes the files itself: Bun would hold in memory what a disk is slower to take, and only
    // of a file can git tell that something is behind the pack in it.
    // Nothing is waited for before there are listeners: a git that ends at once would not be heard, and one
    // that nobody wants any more would not be ended.
    const files: number[] = []
    const opened = (file: number) => (files.push(file), file)
    let child: Child
    try {
      const input = call.stdinFile === null ? undefined : opened(openedAt(...call.stdinFile))
      const output = call.stdoutFile === null ? undefined : opened(openSync(call.stdoutFile, "w", 0o600))
      child = start("git", call.args, { cwd: call.cwd, env }, output, input)
    } finally {
      files.forEach((file) => closeSync(file))
    }
    this.#running.set(id, () => kill(child))
    let late = false
    const timer = call.timeoutMs > 0 ? setTimeout(() => ((late = true), kill(child)), call.timeoutMs) : undefined
    timer?.unref()
    const ended = new Promise<number>((resolve, reject) => {
      child.on("error", reject)
      child.on("close", (code) => resolve(code ?? -1))
    })
    const chunks: Uint8Array[] = []
    let stderr = ""
    child.stderr.on("data", (data) => {
      stderr = (stderr + data).slice(-MAX_STDERR)
      listener?.(String(data))
    })
    child.stdin?.on("error", () => {}).end(stdin)
    child.stdout?.on("data", (data) => chunks.push(data))
    const code = await ended.finally(() => {
      clearTimeout(timer)
      this.#running.delete(id)
    })
    if (late) throw new TimedOut(`git did not end within ${call.timeoutMs} ms`)
    return { head: JSON.stringify({ code, stderr }), body: Buffer.concat(chunks) }
  }

  /** What a program writes to its standard output. */
  async outputOf(program: string, args: string[], cwd: string, timeoutMs: number, maxBytes: number): Promise<string> {
    // Into a file: OpenCode ends without the rest of what a pipe has not taken yet (1.18.33, November 2026).
    const dir = await mkdtemp(join(tmpdir(), "opencode-output-"))
    const path = join(dir, "output")
    try {
      const file = openSync(path, "wx", 0o600)
      // Windows starts a batch file only by cmd.exe.
      const shell = /\.(cmd|bat)$/i.test(program)
      const child = start(shell ? `"${program}"` : program, args, { cwd, env: process.env, shell }, file)
      closeSync(file)
      let why: string | undefined
      const end = (reason: string) => ((why ??= reason), kill(child))
      const isTooMuch = () => statSync(path).size > maxBytes
      const tooMuch = `it wrote more than ${maxBytes} bytes`
      const timer = setTimeout(() => end(`it did not end within ${timeoutMs / 1000} s`), timeoutMs)
      const watch = setInterval(() => isTooMuch() && end(tooMuch), WATCH_MS)
      child.stderr.resume()
      child.stdin?.on("error", () => {}).end()
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on("error", reject)
        child.on("close", resolve)
      }).finally(() => (clearTimeout(timer), clearInterval(watch)))
      if (why === undefined && isTooMuch()) why = tooMuch
      if (why !== undefined) throw new Error(why)
      if (code !== 0) throw new Error(`it ended with exit code ${code}`)
      return await readFile(path, "utf8")
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }

  now(): number {
    return Date.now()
  }

  random(): bigint {
    return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n
  }

  sleep(ms: number): Promise<void> {
    // A timer of ours must not keep OpenCode from ending.
    return new Promise((resolve) => setTimeout(resolve, ms).unref())
  }

  env(name: string): string | undefined {
    return process.env[name]
  }

  platform(): string {
    return process.platform
  }

  machine(): string {
    return hostname()
  }

  pid(): number {
    return process.pid
  }

  pidAlive(pid: number): boolean {
    // 0 is this process's group.
    if (pid === 0) return false
    try {
      process.kill(pid, 0)
      return true
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EPERM"
    }
  }
}
