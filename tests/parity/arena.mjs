// The two sides: the real OpenCode twice, once plain and once with the plugin and daytona-local. Each
// side is one server with several lanes, and a lane is a project directory that is emptied and filled
// for every session. So many small sessions cost neither a start of OpenCode nor an instance each.
//
// A session is `{ name, model, tree, steps }`: `tree` maps paths to a text, bytes, `{ link }` or
// `{ text, exec }`; `steps` are the model's replies, each a list of `[tool, args]` that run together.
// `ROOT` in arguments stands for the project, `WEB` for a web server that both sides reach, and `SAVED`
// for the file in which the last output that was cut is kept. What comes back is one part per call, and the tree.

import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { startPages } from "../lib/pages.mjs"
import { searchPath } from "../lib/programs.mjs"
import { createWorld, git, startLocal, toolResult } from "../lib/world.mjs"

const SANDBOX = "/home/daytona/project"
/** Where each side finds the named programs: bash tells its own path. */
const PROGRAMS = [searchPath(), "/opt/daytona/programs"]
const config = { permission: { "*": "allow", external_directory: "allow", doom_loop: "allow" }, snapshot: false }

/** Modes, kinds, link targets and hashes of all that is in the tree. */
const LIST =
  "find . -path ./.git -prune -o -printf '%y %m %p %l\\n' | LC_ALL=C sort; find . -path ./.git -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum"

/** Starts both sides; `run` gives what each made of a session. */
export async function openArena({ lanes = 2 } = {}) {
  const pages = await startPages()
  const local = await startLocal({ args: ["--network", "host"] })
  const sides = [null, local].map((local) => openSide({ local, lanes, web: pages.url }))
  const [plain, plugin] = await Promise.all(sides)
  return {
    /** Both parts of every call, and both trees. */
    async run(session) {
      const [a, b] = await Promise.all([plain.run(session), plugin.run(session)])
      return { parts: a.parts.map((part, index) => [part, b.parts[index]]), trees: [a.tree, b.tree] }
    },
    lanes,
    close: async () => {
      await Promise.all([plain.close(), plugin.close()])
      await Promise.all([local.stop(), pages.close()])
    },
  }
}

async function openSide({ local, lanes, web }) {
  const plain = local === null
  const world = await createWorld({ config: plain ? { ...config, plugin: [] } : config, local, env: { OPENCODE_ENABLE_EXA: "1" } })
  const opencode = await world.serve()
  const free = []
  const waiting = []
  for (let lane = 0; lane < lanes; lane++) {
    const directory = join(world.base, `lane${lane}`)
    mkdirSync(directory)
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "commit", "--quiet", "--allow-empty", `--message=lane ${lane}`)
    free.push(directory)
  }
  const take = () => (free.length ? free.pop() : new Promise((resolve) => waiting.push(resolve)))
  const give = (directory) => (waiting.length ? waiting.shift()(directory) : free.push(directory))
  return {
    async run(session) {
      const directory = await take()
      try {
        fill(directory, session.tree)
        return await play({ world, url: opencode.url, directory, root: plain ? directory : SANDBOX, web }, session)
      } finally {
        give(directory)
      }
    },
    close: () => world.close(),
  }
}

function fill(directory, tree) {
  for (const name of readdirSync(directory)) {
    if (name !== ".git") rmSync(join(directory, name), { recursive: true, force: true })
  }
  for (const [path, content] of Object.entries(tree)) {
    const full = join(directory, path)
    mkdirSync(dirname(full), { recursive: true })
    const { text, exec, link } = typeof content === "string" || Buffer.isBuffer(content) ? { text: content } : content
    if (link !== undefined) symlinkSync(link, full)
    else writeFileSync(full, text, { mode: exec ? 0o755 : 0o644 })
  }
}

let serial = 0

async function play({ world, url, directory, root, web }, { model = "m", steps }) {
  const request = async (method, path, body) => {
    const response = await fetch(url + path, {
      method,
      headers: { "content-type": "application/json", "x-opencode-directory": directory },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text ? JSON.parse(text) : undefined
  }
  const script = `s${++serial}`
  const replies = [...steps, [["bash", { command: LIST }]]]
  const rooted = JSON.parse(JSON.stringify(replies).replaceAll("ROOT", root).replaceAll("WEB", web))
  world.model.scripts[script] = rooted.map((calls) => (JSON.stringify(calls).includes("SAVED") ? (request) => ({ calls: withSaved(calls, request) }) : { calls }))
  const { id } = await request("POST", "/session", { title: script })
  try {
    await request("POST", `/session/${id}/message`, { parts: [{ type: "text", text: `script:${script}` }], model: { providerID: "fake", modelID: model } })
    const messages = await request("GET", `/session/${id}/message`)
    const parts = messages.flatMap((message) => message.parts).filter((part) => part.type === "tool")
    // A saved file may be below the root, and its name relative to that must go too.
    const saved = parts.map((part) => part.state.metadata?.outputPath).filter(Boolean)
    const places = saved.flatMap((path) => [path.replaceAll(root, "<root>"), relative(root, path)])
    const alike = (text) => PROGRAMS.reduce((text, dir) => text.replaceAll(dir, "<programs>"), text.replaceAll(root, "<root>"))
    const rooted = (part) => JSON.parse(alike(JSON.stringify(toolResult(part))))
    const results = parts.map((part) => ({ ...rooted(part), saved: places }))
    const count = replies.flat().length
    if (results.length !== count) {
      const errors = messages.map((message) => message.info.error).filter(Boolean)
      throw new Error(`${results.length} of ${count} calls have a part; ${JSON.stringify(errors)}`)
    }
    const tree = results.pop()
    if (tree.metadata?.truncated !== false) throw new Error(`The tree cannot be listed: ${tree.error ?? "it is too large"}`)
    return { parts: results, tree: tree.output }
  } finally {
    await request("DELETE", `/session/${id}`)
    delete world.model.scripts[script]
    world.model.requests.length = 0
  }
}

function withSaved(calls, request) {
  const places = JSON.stringify(request.messages).match(/(?<=Full output saved to: )[^\s\\]+/g)
  return JSON.parse(JSON.stringify(calls).replaceAll("SAVED", places?.at(-1) ?? "nothing was saved"))
}
