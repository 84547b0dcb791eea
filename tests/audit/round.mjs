// One state in one configuration: a world with OpenCode in it, every row tried, and what the watchers
// saw.

import { createHash } from "node:crypto"
import { execFileSync } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { basename, dirname, join, relative } from "node:path"
import { createWorld, git, opencodeBinary, packedPackage } from "../lib/world.mjs"
import { searchPath } from "../lib/programs.mjs"
import { fitting, fittingScript } from "../lib/releases.mjs"
import { mayRun } from "./releases.mjs"
import { faces } from "./faces.mjs"
import { modelRows } from "./rows-model.mjs"
import { faceRows } from "./rows-faces.mjs"
import { userRows } from "./rows-user.mjs"
import { under, whole } from "./trace.mjs"
import { refused } from "./verdict.mjs"
import { canaries, change, harmless, plant, requested, salt, startLoopback, told, traced, tree, written } from "./watch.mjs"

export const FAMILIES = ["m", "gpt-5"]
export const rows = [...modelRows.map((row) => ({ ...row, by: "model" })), ...[...userRows, ...faceRows].map((row) => ({ ...row, by: "user" }))]

const NOWHERE = "http://127.0.0.1:9/"
/** Tool calls in one reply of the model: they run at the same time. */
const CALLS = 40
/** Rows of the user's at a time, where there is no sandbox that they must share. */
const ABREAST = 8

/** The five states. `missing` is not there with a plain configuration: nobody of ours is asked then. */
export const states = {
  healthy: { what: "the plugin works" },
  "no-key": { what: "no API key", env: { DAYTONA_API_KEY: "", DAYTONA_API_URL: "" } },
  down: { what: "Daytona is down", env: { DAYTONA_API_URL: `${NOWHERE}api` } },
  corrupt: { what: "the plugin's wasm is corrupt", damage: (dist) => writeFileSync(join(dist, "generated/core_bg.wasm"), "not wasm") },
  missing: { what: "the package cannot be installed", install: true },
}
export const STATES = Object.keys(states)

/** What stands in the user's configuration. */
export const configs = {
  readme: "what the README says and `init` writes",
  plain: "the plugin's entry alone",
}
export const CONFIGS = Object.keys(configs)

/** The rounds of some configurations and states; the name of each is that of its column. */
export const rounds = (some = CONFIGS, names = STATES) =>
  some.flatMap((config) => names.filter((state) => config === "readme" || state !== "missing").map((state) => ({ name: `${config}/${state}`, config, state, ...states[state] })))

/** OpenCode without the plugin, for the self-check. */
export const WITHOUT = { name: "host", what: "OpenCode without the plugin", without: true }

const merge = (into, from) => {
  for (const [key, value] of Object.entries(from)) {
    if (Array.isArray(value)) into[key] = [...(into[key] ?? []), ...value]
    else if (value && typeof value === "object") merge((into[key] ??= {}), value)
    else into[key] = value
  }
  return into
}

const put = (base, files) => {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(base, path)), { recursive: true })
    writeFileSync(join(base, path), text)
  }
}

/** Runs `chosen` rows. Gives `{ effects, requests, results, closed, seconds }`; `closed` is why OpenCode did nothing at all. */
export async function round(state, { chosen = rows, trace }) {
  const started = Date.now()
  const { name } = state
  const loopback = await startLoopback()
  const secret = salt()
  const world = await createWorld({
    files: {},
    git: false,
    local: state.env || state.damage || state.install || state.without ? null : undefined,
    env: {
      AUDIT_SECRET: `E${secret}`,
      ...Object.fromEntries(["LSP_TOOL", "PLAN_MODE", "CODE_MODE", "BACKGROUND_SUBAGENTS"].map((flag) => [`OPENCODE_EXPERIMENTAL_${flag}`, "1"])),
      OPENCODE_ENABLE_EXA: "1",
      // The index of the search box opens every file of the project by itself: no try could be told from it.
      OPENCODE_DISABLE_FFF: "1",
      HTTP_PROXY: `http://audit:P${secret}@127.0.0.1:${loopback.port}`,
      HTTPS_PROXY: `http://audit:P${secret}@127.0.0.1:${loopback.port}`,
      NO_PROXY: "127.0.0.1,localhost",
      npm_config_registry: NOWHERE,
      npm_config_fetch_retries: "0",
      DAYTONA_API_KEY: `K${secret}`,
      ...state.env,
    },
    config: {},
  })
  // createWorld's own server has a key of its own.
  if (world.local) world.environment.DAYTONA_API_KEY = world.local.apiKey
  const { base, project, home } = world
  const traces = []
  let others
  try {
    // All rows are set up, as some use what another configures; the chosen ones are tried.
    const all = rows.flatMap((row) => (row.by === "model" ? FAMILIES : ["m"]).map((family) => ({ row, t: { ...canaries(base, secret, row.id, family, loopback.port), row: row.id } })))
    const tries = all.filter(({ row }) => chosen.includes(row))
    const owners = new Map([...all.map(({ row, t }) => [t.secret, row.id]), [`E${secret}`, undefined], [`P${secret}`, undefined], [world.environment.DAYTONA_API_KEY || `K${secret}`, undefined]])
    configure(world, state, all)
    const before = tree(base)
    const expect = (path) => before.set(relative(base, path), createHash("sha256").update(readFileSync(path)).digest("hex"))

    const env = { ...world.environment }
    const starts = (file) => (trace ? { under: under(file), file } : { under: [] })
    const traceOf = (name) => {
      const file = join(base, `trace-${name}-${traces.length}`)
      if (trace) traces.push(file)
      return file
    }
    const main = traceOf("serve")
    const opencode = await world.serve(starts(main))
    let closed
    // What a user does is tried all the same where OpenCode refuses its configuration.
    const session = await firstSession(opencode).catch((error) => void (closed = error.message))
    // OpenCode 1.0 asks about calls that repeat themselves, whatever is allowed.
    const allow = ({ type, properties: { id, sessionID } }) => type === "permission.updated" && void opencode.request("POST", `/session/${sessionID}/permissions/${id}`, { response: "always" }).catch(() => {})
    const unwatch = closed ? () => {} : await opencode.watch(allow)
    const results = new Map(chosen.map((row) => [row.id, []]))
    const texts = []
    world.model.scripts["*"] = [{ text: "I see." }]
    world.model.scripts.warm = [{ calls: [["bash", { command: "true" }]] }]
    if (!closed) await opencode.prompt(session, "script:warm")
    for (const { row, t } of tries) {
      change(t)
      expect(t.insideHost)
      if (!row.change) continue
      row.change(t)
      for (const [path, hash] of tree(base)) if (path.startsWith("project/inside") && (path.includes(t.token) || row.files?.(t)[path.slice("project/".length)])) before.set(path, hash)
    }

    for (const family of FAMILIES) {
      const calls = []
      for (const { row, t } of tries) {
        if (row.by !== "model" || t.family !== family) continue
        if (row.agent) world.model.scripts[`agent-${row.id}-${family}`] = fittingScript(row.agent(t))
        calls.push(...fitting(row.calls(t, family)).map((call) => ({ row, call })))
      }
      if (!calls.length || closed) continue
      const steps = []
      for (let at = 0; at < calls.length; at += CALLS) steps.push({ calls: calls.slice(at, at + CALLS).map(({ call }) => call) })
      world.model.scripts[`try-${family}`] = steps
      const done = await opencode.prompt(session, `script:try-${family}`, { model: family })
      if (done.length !== calls.length) throw new Error(`${name}, ${family}: ${calls.length} calls were made and ${done.length} came to something; the last: ${JSON.stringify(done.at(-1))?.slice(0, 500)}`)
      done.forEach((result, at) => results.get(calls[at].row.id).push({ ...result, family }))
    }

    // With a sandbox, all is tried in the session whose sandbox has the older files.
    const sessions = closed ? [] : [session]
    const open = async () => {
      sessions.push(await opencode.session())
      return sessions.at(-1)
    }
    others = faces({ world, opencode, closed, start: (name) => starts(traceOf(name)) })
    const user = async ({ row, t }) => {
      if (row.script) world.model.scripts[row.id] = fittingScript(row.script(t))
      const driver = drive({ world, opencode, session: world.local ? session : await open(), open, expect, faces: others, start: (name) => starts(traceOf(name)) })
      let answer
      let failed
      try {
        answer = await row.act(t, driver)
      } catch (error) {
        failed = error.message
      }
      const text = typeof answer === "string" ? answer : JSON.stringify(answer ?? "")
      results.get(row.id).push({ tool: row.by, status: failed ? "error" : "completed", text: failed ?? text })
    }
    const last = (row) => row.quiet
    for (const some of [tries.filter(({ row }) => !last(row)), tries.filter(({ row }) => last(row))]) {
      const waiting = some.filter(({ row }) => row.by === "user")
      const lane = async () => {
        for (let next; (next = waiting.shift()); ) await user(next)
      }
      await Promise.all(Array.from({ length: world.local ? 1 : ABREAST }, lane))
    }

    const messages = await Promise.all(sessions.map((id) => opencode.request("GET", `/session/${id}/message`)))
    unwatch()
    await others.close()
    await opencode.stop()
    if (trace) await whole(main, opencode.child.pid)

    for (const [row, done] of results) texts.push(...done.map(({ tool, text }) => ({ where: `the result of ${tool}`, row, text: String(text) })))
    texts.push({ where: "a session", row: undefined, text: JSON.stringify(messages.flat().map(({ parts }) => parts)) })
    const sent = world.model.requests.map((request) => ({ where: "a request to the model", row: undefined, text: JSON.stringify(request) }))

    const effects = [...told(texts, owners), ...[...told(sent, owners)].map((effect) => ({ ...effect, sent: true })), ...written(base, before, tree(base)), ...requested(loopback.log)]
    for (const file of traces) effects.push(...traced(file, programs(world, state)))
    for (const row of chosen.filter(({ quiet }) => quiet)) {
      for (const { text } of results.get(row.id)) {
        for (const dir of [project, home, homedir()]) {
          const at = text?.indexOf(dir) ?? -1
          if (at >= 0) effects.push({ kind: "p", row: row.id, what: `names a path of the host: ${text.slice(Math.max(0, at - 60), at + 120)}` })
        }
      }
    }
    return { name, closed, effects, requests: sent.length, results, tries: tries.length, seconds: (Date.now() - started) / 1000, env }
  } finally {
    await others?.close().catch(() => {})
    await world.close()
    await loopback.close()
  }
}

/** The first session; once, on a busy machine, OpenCode 1.15.13 without the plugin failed to make it and made the next. */
async function firstSession(opencode) {
  try {
    return await opencode.session()
  } catch (error) {
    if (refused(error.message)) throw error
    return opencode.session()
  }
}

/** Makes project, home and configuration. */
function configure(world, state, all) {
  const { base, project, home } = world
  const config = JSON.parse(readFileSync(world.configFile, "utf8"))
  // All is allowed: what holds is the plugin, and where it is missing, what `init` has written.
  config.permission = { external_directory: "allow", doom_loop: "allow" }
  delete config.plugin
  const plugin = []
  let ours
  if (state.damage) {
    const copy = join(base, "package")
    cpSync(packedPackage(), copy, { recursive: true })
    state.damage(join(copy, "dist"))
    ours = `file://${copy}`
  } else if (!state.without && !state.install) ours = `file://${packedPackage()}`
  if (ours && state.config === "plain") plugin.push(ours)
  git(project, "init", "--quiet", "--initial-branch=main")
  for (const { row, t } of all) {
    put(project, { ...harmless(t), ...row.files?.(t) })
    plant(t, home)
    put(home, row.home?.(t) ?? {})
    if (row.config) merge(config, row.config(t))
    if (row.plugin) {
      put(t.outside, { [`plugin${t.token}.js`]: row.plugin(t) })
      plugin.push(`file://${t.outside}/plugin${t.token}.js`)
    }
  }
  git(project, "add", "--all")
  git(project, "commit", "--quiet", "--message=first")
  for (const { row, t } of all) {
    const planted = row.repository?.(t)
    if (!planted) continue
    put(project, Object.fromEntries(planted.hooks.map((hook) => [`.git/hooks/${hook}`, `#!/bin/sh\n'${planted.program}'\n`])))
    execFileSync("chmod", ["-R", "+x", join(project, ".git/hooks")])
    for (const [key, value] of Object.entries(planted.config)) git(project, "config", key, value)
  }
  config.plugin = plugin
  writeFileSync(world.configFile, JSON.stringify(config))
  if (state.config === "readme") install(world, ours)
}

/** Lets `init` write what the README says, and puts our package in the place of its name if it can be installed. */
function install(world, ours) {
  const { project, environment } = world
  const cli = join(packedPackage(), "dist/cli.js")
  try {
    // Without a key it says so with its exit code, and installs all the same.
    execFileSync(process.execPath, [cli, "init"], { cwd: project, env: { ...environment, DAYTONA_API_KEY: "", DAYTONA_API_URL: "" }, stdio: "pipe" })
  } catch (error) {
    if (error.status !== 1) throw error
  }
  const file = join(project, "opencode.json")
  const written = readFileSync(file, "utf8")
  const name = /"opencode-daytona-sandbox@[^"]*"/g
  if (written.match(name)?.length !== 1) throw new Error(`init wrote no entry, or two: ${written}`)
  if (ours) writeFileSync(file, written.replace(name, JSON.stringify(ours)))
}

/** The programs that OpenCode's processes may run: git for both, the plugin's watcher that ends a git with its caller, what `sandbox-shell` is made of, and `pgrep` to end processes. */
function programs(world, state) {
  const shell = join(state.damage ? join(world.base, "package") : packedPackage(), "dist/sandbox-shell")
  const typed = join(dirname(shell), "shell.js")
  return (path, line) => {
    if (mayRun(basename(path), line)) return true
    if (path === opencodeBinary()) return /^execve\("[^"]*", \["[^"]*", "(serve|run|attach|web|acp)"/.test(line) || line.includes(`, "${typed}"`)
    if (path === shell) return true
    if (path === "/bin/sh") return /\["\/bin\/sh", "-c", "while read -r _; do :; done\s/.test(line)
    const place = path === join(searchPath(), basename(path)) || /^\/(usr\/)?(local\/)?s?bin\/|^\/usr\/lib(exec)?\/git-core\//.test(path)
    return place && ["git", "od", "tr", "false", "pgrep"].includes(basename(path))
  }
}

/** What a row of the user's can do. */
function drive({ world, opencode, session, open, expect, faces, start }) {
  const fake = { providerID: "fake", modelID: "m" }
  const { request } = opencode
  const output = ({ parts }) => parts.map(({ state, text }) => state?.output ?? state?.error ?? text ?? "").join("\n")
  return {
    model: world.model,
    expect,
    faces,
    request,
    open,
    say: (id, text) => opencode.prompt(id, text),
    shell: async (command) => output(await request("POST", `/session/${session}/shell`, { agent: "build", command, model: fake })),
    command: (command, text) => request("POST", `/session/${session}/command`, { command, arguments: text, model: "fake/m" }),
    attach: (...parts) => request("POST", `/session/${session}/message`, { parts: [{ type: "text", text: "look" }, ...parts], model: fake }),
    run: async (prompt) => (await world.run(prompt, start("run"))).stdout,
  }
}
