// OpenCode's other interfaces, each a real process under the trace: `run --attach` and `attach` in a
// terminal, both as clients of the server that is there, `web`, and `acp` with an editor that does what it
// is asked to do. `serve` is what all other rows go through. A process is started when a row first needs
// it, and does one thing at a time.

import { execFileSync, spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { eventually, opencodeBinary } from "../lib/world.mjs"
import { whole } from "./trace.mjs"

/** How long something may take that has to come. */
const SECONDS = 90

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`

/** `start(name)` gives `{ under, file }` of a new trace; `file` is nothing where there is none. `closed`: why there are no sessions. */
export function faces({ world, opencode, closed, start }) {
  const started = new Map()
  const once = (name, open) => started.get(name) ?? started.set(name, open(start(name))).get(name)
  let last = Promise.resolve()
  /** One row at a time: a terminal has one prompt. */
  const alone = (work) => (last = last.catch(() => {}).then(work))
  return {
    run: async (prompt, ...args) => (await world.run(prompt, { ...start("run-attach"), args: ["--attach", opencode.url, ...args] })).stdout,
    web: () => once("web", (trace) => openWeb(world, trace)),
    acp: (work) => alone(async () => work(await once("acp", (trace) => openEditor(world, trace)))),
    attach: async (work) => {
      // The terminal would wait for a session for ever.
      if (closed) throw new Error(closed)
      return alone(async () => work(await once("attach", (trace) => openTerminal(world, opencode, trace))))
    },
    /** Ends them all, and waits until their traces are whole. */
    async close() {
      for (const open of started.values()) await (await open.catch(() => undefined))?.close()
    },
  }
}

const ended = async ({ file }, pid) => file && (await whole(file, pid))

async function openWeb(world, trace) {
  const web = await world.serve({ under: trace.under, as: "web" })
  return {
    ...web,
    async close() {
      await web.stop()
      await ended(trace, web.child.pid)
    },
  }
}

/** The Agent Client Protocol, as an editor speaks it: every question is allowed once, and every file written that is asked for. */
async function openEditor(world, trace) {
  const [program, ...args] = [...trace.under, opencodeBinary(), "acp"]
  const child = spawn(program, args, { cwd: world.project, env: world.environment, stdio: ["pipe", "pipe", "ignore"] })
  child.stdin.on("error", () => {})
  const waiting = new Map()
  const texts = []
  const editor = { texts, mark: undefined }
  const send = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)
  const asked = (method, params) => {
    if (method === "session/request_permission") return { outcome: { outcome: "selected", optionId: params.options.find(({ kind }) => kind === "allow_once").optionId } }
    // Where the file would be is outside of what is watched: that it was asked for is what counts.
    if (method.startsWith("fs/") && editor.mark) writeFileSync(editor.mark, JSON.stringify(params))
    return method === "fs/read_text_file" ? { content: "" } : {}
  }
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { id, method, params, result, error } = JSON.parse(line)
    texts.push(line)
    if (method && id !== undefined) return send({ id, result: asked(method, params) })
    if (!method) (error ? waiting.get(id)?.fail(new Error(JSON.stringify(error))) : waiting.get(id)?.done(result))
  })
  let serial = 0
  const request = (method, params) =>
    new Promise((done, fail) => {
      waiting.set(++serial, { done, fail })
      setTimeout(() => fail(new Error(`opencode acp does not answer ${method}`)), SECONDS * 1000).unref()
      child.once("exit", (code) => fail(new Error(`opencode acp ended with ${code}`)))
      send({ id: serial, method, params })
    })
  await request("initialize", { protocolVersion: 1, clientCapabilities: { fs: { readTextFile: true, writeTextFile: true } } })
  return Object.assign(editor, {
    /** A prompt in a session of its own; gives all that the editor was told. */
    async say(text, { mode, mark } = {}) {
      const { sessionId } = await request("session/new", { cwd: world.project, mcpServers: [] })
      if (mode) await request("session/set_mode", { sessionId, modeId: mode })
      const from = texts.length
      editor.mark = mark
      await request("session/prompt", { sessionId, prompt: [{ type: "text", text }] })
      return texts.slice(from).join("\n")
    },
    async close() {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = new Promise((done) => child.once("exit", done))
        child.kill("SIGKILL")
        await gone
      }
      await ended(trace, child.pid)
    },
  })
}

/** The terminal interface, as a client of the server. */
async function openTerminal(world, opencode, trace) {
  const socket = join(world.base, "tmux")
  const tmux = (...args) => execFileSync("tmux", ["-S", socket, ...args], { encoding: "utf8", env: { ...world.environment, TERM: "xterm-256color" }, stdio: ["ignore", "pipe", "pipe"] })
  const command = [...trace.under, opencodeBinary(), "attach", opencode.url].map(quoted).join(" ")
  tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "120", "-y", "40", "-c", world.project, "sh", "-c", `exec ${command}`)
  const pid = Number(tmux("display-message", "-p", "-t", "t", "#{pane_pid}"))
  const screen = () => tmux("capture-pane", "-p", "-t", "t")
  /** Waits for something; says what the terminal showed if it does not come. */
  const waits = (what, check, seconds = SECONDS) =>
    eventually(what, check, seconds).catch((error) => {
      throw new Error(`${error.message}\n${screen()}`)
    })
  const close = async () => {
    for (const end of [() => process.kill(pid, "SIGKILL"), () => tmux("kill-server")]) {
      try {
        end()
      } catch {
        // It has ended by itself.
      }
    }
    await ended(trace, pid)
  }
  const type = async (...keys) => {
    // What is typed before the prompt is there is lost: then the screen stays as it was.
    let was
    await waits("the terminal is drawn", () => screen().trim() && was === (was = screen()))
    const squeezed = (text) => text.replace(/\s/g, "")
    await waits(`the terminal shows ${keys.at(-1)}`, async () => {
      for (const text of keys) tmux("send-keys", "-t", "t", "-l", text)
      return eventually("typed", () => squeezed(screen()).includes(squeezed(keys.at(-1))), 5).catch((error) => {
        // Out of the mode for commands, and an empty line.
        tmux("send-keys", "-t", "t", "C-u", "Escape")
        throw error
      })
    })
    tmux("send-keys", "-t", "t", "Enter")
  }
  return { screen, waits, type, close }
}
