// `npm start`: OpenCode's terminal UI in a scratch project, with the plugin. Sandboxes come from
// daytona-local, or from Daytona if DAYTONA_API_KEY is set. The model is yours if OpenCode knows
// one; otherwise a scripted stand-in answers. On the way out everything this made is removed.

import { spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { basename, join } from "node:path"
import { ensureLocal, ensurePackage, ensurePackages, ensurePrograms, ensureTools, enterPrograms, packageIsBuilt } from "./lib/setup.mjs"
import { startModel } from "./lib/model.mjs"
import { git, opencodeBinary, packedPackage, prepareHome, startLocal } from "./lib/world.mjs"

const env = process.env
const remote = Boolean(env.DAYTONA_API_KEY)
const read = (path) => (existsSync(path) ? readFileSync(path, "utf8") : "")

/** Where OpenCode would find a provider of the user's own, or undefined. */
function ownModel() {
  if (process.argv.includes("--scripted")) return undefined
  const configs = join(env.XDG_CONFIG_HOME || join(homedir(), ".config"), "opencode")
  const files = ["config.json", "opencode.json", "opencode.jsonc"].map((name) => join(configs, name))
  if (env.OPENCODE_CONFIG) files.push(env.OPENCODE_CONFIG)
  const auth = join(env.XDG_DATA_HOME || join(homedir(), ".local/share"), "opencode/auth.json")
  const providers = /^(ANTHROPIC|OPENAI|GEMINI|GOOGLE_GENERATIVE_AI|OPENROUTER|OPENCODE|GROQ|MISTRAL|XAI|DEEPSEEK|CEREBRAS|TOGETHER)_API_KEY$/
  const key = Object.keys(env).find((name) => providers.test(name) && env[name])
  if (/"key"|"access"|"token"/.test(read(auth))) return auth
  return key ?? files.find((file) => /"(provider|model)"\s*:/.test(read(file)))
}

/** The stand-in: whatever is asked, the same harmless turn. */
const scripts = {
  "*": [
    { text: "I am a scripted stand-in, not a model: whatever you ask, I look around and write one file.", calls: [["bash", { command: "pwd; whoami; uname -sr; ls -A" }]] },
    { calls: [["write", { filePath: "hello.sh", content: "echo Hello from the sandbox\n" }]] },
    { calls: [["bash", { command: "sh hello.sh" }]] },
    { text: "All of that ran in this session's sandbox. hello.sh is there. Your working tree is as it was; the work comes home as the branch opencode/1." },
  ],
}

function setUp() {
  ensureTools()
  ensurePackages()
  ensurePrograms()
  if (!packageIsBuilt()) console.log("Building the plugin (minutes, the first time) ...")
  ensurePackage({ reuse: true, quiet: true })
  if (!remote) ensureLocal({ quiet: true })
  enterPrograms()
}

/** Deletes every sandbox with this run's label, made or still in the making. Gives how many went and which did not. */
async function removeSandboxes(api, key, labels) {
  const request = async (method, path) => {
    const response = await fetch(api + path, { method, headers: { authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(30_000) })
    const text = await response.text()
    if (!response.ok && response.status !== 404) throw new Error(`${response.status} ${text.slice(0, 200)}`)
    return text
  }
  const { items } = JSON.parse(await request("GET", `/sandbox?limit=200&labels=${encodeURIComponent(JSON.stringify(labels))}`))
  const left = []
  for (const { id } of items) await request("DELETE", `/sandbox/${id}`).catch((error) => left.push(`${id} (${error.message})`))
  return { deleted: items.length - left.length, left }
}

/** Removes the plugin's notes on the scratch project, which may be in the user's own home. */
function removeNotes(storeDir, project) {
  for (const name of existsSync(storeDir) ? readdirSync(storeDir) : []) {
    const file = join(storeDir, name)
    if (name.endsWith(".json") && read(file).includes(JSON.stringify(project))) rmSync(file)
  }
}

if (!process.stdin.isTTY || !process.stdout.isTTY) {
  console.error("npm start opens OpenCode's terminal UI, so it needs a terminal. Without one: npm run demo")
  process.exit(1)
}
setUp()

const base = realpathSync(mkdtempSync(join(tmpdir(), "opencode-daytona-")))
const project = join(base, "project")
mkdirSync(project)
writeFileSync(join(project, "README.md"), "# Scratch\n")
git(project, "init", "--quiet", "--initial-branch=main")
git(project, "add", "--all")
git(project, "commit", "--quiet", "--message=Start")

env.OPENCODE_DAYTONA_PACKED ||= join(base, "packed")
const own = ownModel()
const model = own ? undefined : await startModel(scripts, { title: "A look around" })
const local = remote ? undefined : await startLocal({ data: join(base, "daytona-local") })
const api = (local?.url ?? env.DAYTONA_API_URL ?? "https://app.daytona.io/api").replace(/\/$/, "")
const key = local?.apiKey ?? env.DAYTONA_API_KEY

const labels = { scratch: basename(base) }
const config = { $schema: "https://opencode.ai/config.json", plugin: [[`file://${packedPackage()}`, { labels }]] }
const environment = { ...env, OPENCODE_DISABLE_AUTOUPDATE: "1", DAYTONA_API_URL: api, DAYTONA_API_KEY: key }
let home = homedir()
if (model) {
  config.model = config.small_model = "scripted/stand-in"
  config.enabled_providers = ["scripted"]
  const options = { baseURL: model.url, apiKey: "none" }
  config.provider = { scripted: { name: "Scripted", npm: "@ai-sdk/openai-compatible", options, models: { "stand-in": { name: "Stand-in", tool_call: true } } } }
  home = join(base, "home")
  prepareHome(home)
  for (const name of ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "OPENCODE_CONFIG"]) delete environment[name]
  Object.assign(environment, { HOME: home, OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_LSP_DOWNLOAD: "1" })
}
// This setting is merged over every file, so the user's own configuration stays in force.
environment.OPENCODE_CONFIG_CONTENT = JSON.stringify(config)

console.log(`OpenCode runs in ${project}; its tools run in sandboxes of ${remote ? `Daytona (${api}, DAYTONA_API_KEY is set)` : `daytona-local (${api})`}; ${own ? `the model is yours (${own})` : "the model is a scripted stand-in, because no provider is configured"}.`)
await new Promise((done) => setTimeout(done, 1500))

const child = spawn(opencodeBinary(), [], { cwd: project, env: environment, stdio: "inherit" })
// Ctrl-C is the UI's. What would end this process ends the UI instead, and the rest follows.
process.on("SIGINT", () => {})
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal))
const code = await new Promise((done) => {
  child.once("error", (error) => (console.error(error.message), done(1)))
  child.once("exit", (code, signal) => done(code ?? (signal ? 1 : 0)))
})

const storeDir = join(environment.XDG_DATA_HOME || join(home, ".local/share"), "opencode/storage/daytona")
// A stopped daytona-local takes its sandboxes with it; at Daytona they are deleted one by one.
const { deleted, left } = local
  ? { deleted: (await local.sandboxes().catch(() => [])).length, left: [] }
  : await removeSandboxes(api, key, labels).catch((error) => ({ deleted: 0, left: [error.message] }))
await local?.stop()
await model?.close()
if (left.length) console.log(`Not deleted: ${left.join(", ")}. Delete them in Daytona's dashboard.`)
else removeNotes(storeDir, project)
console.log(`Removed: ${deleted} ${deleted === 1 ? "sandbox" : "sandboxes"}${local ? ", daytona-local" : ""}, ${base}.`)
rmSync(base, { recursive: true, force: true })
process.exit(code)
