// A world for session sync: a home, a project, a scripted model, a fake OpenSync, and the real OpenCode with
// the packed package.

import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createWorld, opencodeBinary, packedPackage } from "../lib/world.mjs"
import { differences } from "./equal.mjs"
import { startOpenSync } from "./opensync.mjs"

/** USD for a million tokens, so that costs are compared, too. */
const PRICES = { input: 3, output: 15 }

export async function createSyncWorld({ scripts, files = { "README.md": "# A project\n" }, login = true, options = {}, port } = {}) {
  const packed = packedPackage("packages/session-sync")
  const store = await startOpenSync({ port })
  const world = await createWorld({ scripts, files, local: null, plugin: `file://${packed}`, prices: PRICES, ...options })
  const configDir = join(world.home, ".config/opencode-sync")
  // The command finds OpenCode where a user has it: on the PATH.
  const bin = join(world.base, "bin")
  mkdirSync(bin)
  writeFileSync(join(bin, "opencode"), `#!/bin/sh\nexec ${opencodeBinary()} "$@"\n`, { mode: 0o755 })
  const environment = { ...world.environment, PATH: `${bin}:${world.environment.PATH}` }
  const sync = {
    ...world,
    packed,
    store,
    environment,
    state: join(world.home, ".local/state/opencode-sync"),
    config(config) {
      mkdirSync(configDir, { recursive: true, mode: 0o700 })
      writeFileSync(join(configDir, "config.json"), JSON.stringify(config), { mode: 0o600 })
    },
    /** `opencode-sync …`, as packed or installed as `program`; gives its output and exit code. `input` is piped in. */
    command(args, { input, env = {}, cwd = world.project, program } = {}) {
      return new Promise((done) => {
        const [file, ...before] = program ? [program] : [process.execPath, join(packed, "dist/cli.js")]
        const child = execFile(file, [...before, ...args], { cwd, env: { ...environment, ...env }, maxBuffer: 1 << 28 }, (error, stdout, stderr) => done({ code: error ? (error.code ?? 1) : 0, stdout, stderr }))
        child.stdin.end(input ?? "")
      })
    },
    /** Everything that OpenCode has, as it says it over HTTP. */
    async conversations(opencode) {
      const all = await opencode.request("GET", "/session?limit=100000")
      return Promise.all(all.map(async (info) => ({ info, messages: await opencode.request("GET", `/session/${info.id}/message`) })))
    },
    /** Everything that OpenCode has, asked in a process of its own without plugins. */
    async saved() {
      const opencode = await world.serve({ env: { OPENCODE_PURE: "1" } })
      try {
        return await sync.conversations(opencode)
      } finally {
        await opencode.stop()
      }
    },
    stored: async () => (await (await fetch(`${store.url}/_test/state`)).json()).sessions,
    requests: async () => (await fetch(`${store.url}/_test/requests`)).json(),
    control: (method, path, body) => fetch(`${store.url}/_test/${path}`, { method, body: body && JSON.stringify(body) }),
    /** What is not the same on both sides. */
    differences: async (conversations) => differences(conversations, await sync.stored()),
    /** The entries on disk. */
    spool() {
      try {
        const dir = join(sync.state, "sessions")
        return readdirSync(dir).filter((name) => name.endsWith(".json")).map((name) => JSON.parse(readFileSync(join(dir, name), "utf8")))
      } catch {
        return []
      }
    },
    async close(options) {
      await world.close(options)
      await store.stop()
    },
  }
  if (login) sync.config({ url: store.url, apiKey: store.key })
  return sync
}

