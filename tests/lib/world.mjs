// A world of its own for one test: home, project, daytona-local, scripted model, and the real
// OpenCode with the packed plugin. Nothing is shared but what is read only.

import { execFile, execFileSync, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { get } from "node:http"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { startModel } from "./model.mjs"
import { pack } from "./packed.mjs"
import { below, release } from "./releases.mjs"
import { searchPath } from "./programs.mjs"

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/** Where OpenCode and its plugin API are installed: the pinned release, or that of `OPENCODE_RELEASE` (releases.mjs). */
export const opencodeModules = () => join(process.env.OPENCODE_RELEASE ?? root, "node_modules")

/** The real binary: npm may or may not have run the package's own install script. */
export function opencodeBinary() {
  const modules = opencodeModules()
  const names = readdirSync(modules).filter((name) => name.startsWith("opencode-") && !name.startsWith("opencode-ai"))
  for (const name of names.sort((a, b) => a.length - b.length)) {
    const path = join(modules, name, "bin", process.platform === "win32" ? "opencode.exe" : "opencode")
    if (existsSync(path)) return path
  }
  throw new Error("opencode is not installed: run `npm ci`")
}

export function localBinary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target")
  const path = process.env.DAYTONA_LOCAL_BIN ?? join(target, "debug/daytona-local")
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`cargo build -p daytona-local\``)
  return path
}

/** Starts daytona-local; it ends with this process. */
export async function startLocal({ data, args = [], env = {} } = {}) {
  const dir = data ?? mkdtempSync(join(tmpdir(), "daytona-local-"))
  const child = spawn(localBinary(), ["serve", "--port", "0", "--data", dir, "--test-controls", "--print", "json", "--exit-with-parent", ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, PATH: searchPath(), DAYTONA_LOCAL_PROGRAMS: searchPath(), ...env },
  })
  let stderr = ""
  child.stderr.on("data", (data) => (stderr += data))
  const line = await new Promise((done, fail) => {
    createInterface({ input: child.stdout }).once("line", done)
    child.once("exit", (code) => fail(new Error(`daytona-local ended with ${code}: ${stderr}`)))
  })
  const { url, apiKey } = JSON.parse(line)
  const control = async (method, path, body, headers = {}) => {
    const response = await fetch(url.replace(/\/api$/, "") + path, {
      method,
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text ? JSON.parse(text) : undefined
  }
  return {
    url,
    apiKey,
    data: dir,
    child,
    control,
    api: (method, path, body) => control(method, `/api${path}`, body),
    sandboxes: async () => (await control("GET", "/api/sandbox?limit=200")).items,
    fault: (method, path, action, more = {}) => control("POST", "/_test/faults", { match: { method, path, skip: more.skip }, times: more.times ?? 1, for_ms: more.for_ms, action }),
    heal: () => control("DELETE", "/_test/faults"),
    latency: (ms) => control("POST", "/_test/latency", { ms }),
    requests: () => control("GET", "/_test/requests"),
    reset: () => control("DELETE", "/_test/requests"),
    stop: async () => {
      if (child.exitCode !== null) return
      const ended = new Promise((done) => child.once("exit", done))
      child.stdin.end()
      await ended
      if (!data) rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Where the packages of this workspace are packed to, and the variables that say so to child processes. */
const PACKED = {
  "plugin-shim": [".cache/packed", "OPENCODE_DAYTONA_PACKED"],
  "packages/session-sync": [".cache/packed-sync", "OPENCODE_SYNC_PACKED"],
}

/** Packs a package once per run of the tests: what users install is what is tested. */
export function packedPackage(source = "plugin-shim") {
  const [place, variable] = PACKED[source]
  const dir = process.env[variable] ?? join(root, place)
  const installed = join(dir, "package")
  if (process.env[variable] && existsSync(installed)) return installed
  // Aside first: test files that are run by hand may do this at the same time.
  const aside = `${dir}.${process.pid}`
  mkdirSync(aside, { recursive: true })
  pack(join(root, source), aside)
  rmSync(dir, { recursive: true, force: true })
  renameSync(aside, dir)
  process.env[variable] = dir
  return installed
}

export function git(cwd, ...args) {
  const env = { ...process.env, PATH: searchPath(), GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_NOSYSTEM: "1" }
  return execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { cwd, encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] }).trim()
}

/**
 * Makes a home in which OpenCode starts at once. It keeps its plugin API as an npm package in its
 * config directory, and the first request waits for that install: 4 to 15 s, and a registry. What it
 * looks at is whether `node_modules` is there and the lock file's root names the package, so the
 * copy that the repository has anyway, of the same version, will do.
 */
export function prepareHome(home) {
  const name = "@opencode-ai/plugin"
  const installed = join(opencodeModules(), name)
  const dependencies = { [name]: JSON.parse(readFileSync(join(installed, "package.json"), "utf8")).version }
  const config = join(home, ".config/opencode")
  mkdirSync(join(config, "node_modules", dirname(name)), { recursive: true })
  symlinkSync(installed, join(config, "node_modules", name), "junction")
  writeFileSync(join(config, "package.json"), JSON.stringify({ dependencies }))
  writeFileSync(join(config, "package-lock.json"), JSON.stringify({ lockfileVersion: 3, packages: { "": { dependencies } } }))
}

/**
 * OpenCode 1.0 installs the package that talks to the model into its cache, and throws a cache of another layout away.
 * Up to 1.3 it installs plugins of its own, too, if the environment does not forbid it: gives that.
 */
function prepareProvider(home) {
  const name = "@ai-sdk/openai-compatible"
  const installed = join(opencodeModules(), name)
  const environment = below(release(), "1.14.0") ? { OPENCODE_DISABLE_DEFAULT_PLUGINS: "1" } : {}
  if (!existsSync(installed)) return environment
  const cache = join(home, ".cache/opencode")
  mkdirSync(join(cache, "node_modules", dirname(name)), { recursive: true })
  symlinkSync(installed, join(cache, "node_modules", name), "junction")
  writeFileSync(join(cache, "package.json"), JSON.stringify({ dependencies: { [name]: "latest" } }))
  writeFileSync(join(cache, "version"), "9")
  return environment
}

/**
 * A world. `files` are written to the project; `git: false` leaves it without a repository.
 * `plugin` names what goes into `opencode.json` (default: the packed package), `prices` are USD for a million tokens.
 */
export async function createWorld({ files = {}, git: withGit = true, options = {}, scripts = {}, env = {}, local, plugin, prices, config = {} } = {}) {
  const base = mkdtempSync(join(tmpdir(), "opencode-e2e-"))
  const project = join(base, "project")
  const home = join(base, "home")
  mkdirSync(project)
  prepareHome(home)
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(project, path)), { recursive: true })
    writeFileSync(join(project, path), content)
  }
  const server = local === undefined ? await startLocal() : local
  const model = await startModel(scripts)
  const provider = {
    npm: "@ai-sdk/openai-compatible",
    options: { baseURL: model.url, apiKey: "x" },
    models: { m: { tool_call: true, attachment: true, modalities: { input: ["text", "image"], output: ["text"] }, cost: prices }, "gpt-5": { tool_call: true } },
  }
  const spec = plugin ?? `file://${packedPackage()}`
  const opencodeConfig = {
    $schema: "https://opencode.ai/config.json",
    model: "fake/m",
    small_model: "fake/m",
    provider: { fake: provider },
    // Up to 1.3 an entry must be a text.
    plugin: [Object.keys(options).length ? [spec, options] : spec],
    ...config,
  }
  // OpenCode's own list of 226 providers is a third of what a start costs, and no test asks for one of them.
  const catalog = join(base, "models.json")
  writeFileSync(catalog, "{}")
  const configFile = join(base, "opencode.json")
  writeFileSync(configFile, JSON.stringify(opencodeConfig, null, 2))
  if (withGit) {
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    if (Object.keys(files).length) git(project, "commit", "--quiet", "--message=first")
  }
  const environment = {
    PATH: searchPath(),
    HOME: home,
    TMPDIR: process.env.TMPDIR ?? "/tmp",
    OPENCODE_CONFIG: configFile,
    OPENCODE_DISABLE_AUTOUPDATE: "1",
    OPENCODE_DISABLE_MODELS_FETCH: "1",
    OPENCODE_MODELS_PATH: catalog,
    OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
    ...prepareProvider(home),
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(npm_config_|SSL_CERT|NODE_EXTRA_CA|https?_proxy|no_proxy)/i.test(name))),
    ...(server ? { DAYTONA_API_URL: server.url, DAYTONA_API_KEY: server.apiKey } : {}),
    ...env,
  }
  const servers = []
  const world = {
    base,
    project,
    home,
    model,
    local: server,
    environment,
    configFile,
    storeDir: join(home, ".local/share/opencode/storage/daytona"),
    /** The plugin's stores, one for each project. */
    stores() {
      const names = existsSync(world.storeDir) ? readdirSync(world.storeDir).filter((name) => name.endsWith(".json")) : []
      return names.map((name) => JSON.parse(readFileSync(join(world.storeDir, name), "utf8")))
    },
    /** That of the one project of this world. */
    store: () => world.stores()[0],
    logs() {
      const dir = join(home, ".local/share/opencode/log")
      return existsSync(dir) ? readdirSync(dir).map((name) => readFileSync(join(dir, name), "utf8")).join("\n") : ""
    },
    /** `opencode run`: one prompt, one process, as an argument of `under` if that is given. Gives its parts. */
    run(prompt, { args = [], cwd = project, env: more = {}, under = [] } = {}) {
      const [program, ...rest] = [...under, opencodeBinary(), "run", "--format", "json", ...args, prompt]
      return run(program, rest, { cwd, env: { ...environment, ...more } })
    },
    /** `opencode serve`, or another command that serves: a client of its HTTP API. */
    async serve({ cwd = project, env: more = {}, under = [], address = "127.0.0.1", as = "serve" } = {}) {
      const opencode = await serve(cwd, { ...environment, ...more }, under, address, as)
      servers.push(opencode)
      return opencode
    },
    /** Ends it all; `keep` leaves the directory to be looked at. */
    async close({ keep = false } = {}) {
      await Promise.all(servers.map((opencode) => opencode.stop()))
      await model.close()
      if (local === undefined) await server.stop()
      if (!keep) rmSync(base, { recursive: true, force: true })
    },
  }
  return world
}

function run(binary, args, { cwd, env }) {
  return new Promise((done) => {
    execFile(binary, args, { cwd, env, maxBuffer: 1 << 28, timeout: 300_000 }, (error, stdout, stderr) => {
      const events = stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
      const parts = events.filter((event) => event.part).map((event) => event.part)
      done({
        code: error ? (error.code ?? 1) : 0,
        stdout,
        stderr,
        parts,
        session: events[0]?.sessionID,
        tools: parts.filter((part) => part.type === "tool").map(toolResult),
      })
    }).stdin.end()
  })
}

/** Opens a preview of daytona-local as a browser does, which knows that every `*.localhost` is this machine; Node leaves that to the system's resolver. */
export function visit(url) {
  const { host, port, pathname, search } = new URL(url)
  return new Promise((done, fail) => {
    const request = get({ host: "127.0.0.1", port, path: pathname + search, headers: { host } }, async (response) => {
      let text = ""
      for await (const chunk of response) text += chunk
      done({ status: response.statusCode, text })
    })
    request.on("error", fail)
  })
}

/** What a tool part came to. */
export function toolResult(part) {
  const { status, output, error, title, metadata, input, attachments } = part.state
  return { tool: part.tool, status, output, error, title, metadata, input, attachments, text: output ?? error }
}

async function serve(cwd, env, under, address, as) {
  const [program, ...args] = [...under, opencodeBinary(), as, "--port", "0", "--hostname", address]
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  const url = await new Promise((done, fail) => {
    const read = (data) => {
      output += data
      const found = output.match(/(?:listening on|Web interface:) .*?(http:\/\/[^\s/]+)/s)
      if (found) done(found[1])
    }
    child.stdout.on("data", read)
    child.stderr.on("data", read)
    child.once("exit", (code) => fail(new Error(`opencode ${as} ended with ${code}: ${output}`)))
  })
  const opencode = {
    ...client(url, cwd),
    child,
    /** The same OpenCode, asked about another directory. */
    at: (directory) => client(url, directory),
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((done) => child.once("exit", done))
      child.kill(signal)
      await ended
    },
  }
  return opencode
}

/** A client of OpenCode's HTTP API, for one directory. */
function client(url, directory) {
  const headers = { "x-opencode-directory": encodeURIComponent(directory) }
  const request = async (method, path, body) => {
    const response = await fetch(url + path, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text ? JSON.parse(text) : undefined
  }
  return {
    url,
    request,
    session: async (body = {}) => (await request("POST", "/session", body)).id,
    /** Sends a prompt and waits for the turn; gives the tool results of the turn. */
    async prompt(session, text, { model = "m", agent } = {}) {
      const before = (await request("GET", `/session/${session}/message`)).length
      await request("POST", `/session/${session}/message`, { parts: [{ type: "text", text }], model: { providerID: "fake", modelID: model }, agent })
      const messages = (await request("GET", `/session/${session}/message`)).slice(before)
      return messages.flatMap((message) => message.parts).filter((part) => part.type === "tool").map(toolResult)
    },
    /** Gives every event of the project to `see`, until the function that this gives is called. */
    async watch(see) {
      const watching = new AbortController()
      const response = await fetch(`${url}/event`, { signal: watching.signal, headers })
      const reading = (async () => {
        let text = ""
        for await (const chunk of response.body) {
          text += Buffer.from(chunk).toString()
          const lines = text.split("\n")
          text = lines.pop()
          for (const line of lines.filter((line) => line.startsWith("data: "))) see(JSON.parse(line.slice(6)))
        }
      })().catch(() => {})
      return () => (watching.abort(), reading)
    },
  }
}

/** Waits until `check` gives something true; says what it waited for when it gives up. */
export async function eventually(what, check, seconds = 30) {
  const deadline = Date.now() + seconds * 1000
  let last
  for (;;) {
    try {
      last = await check()
      if (last) return last
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${seconds} s; last: ${last}`)
    await new Promise((done) => setTimeout(done, 25))
  }
}

/** What was waited for took longer than it may. */
export class TooLong extends Error {}

/** Waits for work so many seconds at most; `what` names it. */
export async function within(seconds, work, what) {
  let timer
  const limit = new Promise((_, fail) => (timer = setTimeout(() => fail(new TooLong(`${what} did not end within ${seconds} s`)), seconds * 1000)))
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
