// `npm test`: set-up, then every check. CI calls this and nothing else.

import { spawn, spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { Count } from "./lib/count.mjs"
import { NPM_TEST } from "./lib/releases.mjs"
import { buildRust, runRust } from "./lib/rust.mjs"
import { ensurePackages, ensurePrograms, ensureReleases, ensureTools, enterPrograms, must, step, xtask, xtaskProgram } from "./lib/setup.mjs"
import { packedPackage } from "./lib/world.mjs"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..")
const count = new Count()

/** Runs a command beside others; shows its output when it ends, and ends this process if it fails. */
async function check(name, command, args) {
  const start = Date.now()
  const { code, text } = await run(command, args)
  process.stdout.write(`\n== ${name}\n${text}== ${name}: ${((Date.now() - start) / 1000).toFixed(1)} s\n`)
  if (code !== 0) process.exit(1)
}

/** Runs a command; gives its exit code and output. */
function run(command, args, see = () => {}) {
  return new Promise((done) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
    let text = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        see(data)
        text += data
      })
    }
    child.on("error", (error) => done({ code: -1, text: `${command}: ${error.message}\n` }))
    child.on("close", (code) => done({ code, text }))
  })
}

/** Runs test files, shows the output, and counts what it says. */
async function nodeTests(dir, files) {
  const start = Date.now()
  process.stdout.write(`\n== ${dir}\n`)
  const args = ["--test", "--test-reporter=tap", "--test-concurrency=2", ...files.map((name) => join(dir, name))]
  const { code, text } = await run(process.execPath, args, (data) => process.stdout.write(data))
  count.node(dir, code, text)
  process.stdout.write(`== ${dir}: ${((Date.now() - start) / 1000).toFixed(1)} s\n`)
}

/** Runs the Rust tests, two programs at a time, the slow ones first. */
async function rustTests(programs) {
  const start = Date.now()
  const slow = ["plugin: core", "runner: runner", "sessions: processes", "git-bridge: home"]
  const waiting = programs.toSorted((a, b) => slow.includes(b.name) - slow.includes(a.name) || slow.indexOf(a.name) - slow.indexOf(b.name))
  const lane = async () => {
    for (let program; (program = waiting.shift()); ) {
      const { code, text, seconds } = await runRust(program)
      process.stdout.write(`\n== Rust tests, ${program.name}\n${text}== Rust tests, ${program.name}: ${seconds.toFixed(1)} s\n`)
      count.rust(`Rust tests, ${program.name}`, code, text)
    }
  }
  await Promise.all([lane(), lane()])
  process.stdout.write(`== Rust tests: ${((Date.now() - start) / 1000).toFixed(1)} s\n`)
}

step("set-up", () => {
  ensureTools()
  ensurePackages()
  ensurePrograms()
  ensureReleases(NPM_TEST)
  for (const component of ["rustfmt", "clippy"]) {
    if (spawnSync("cargo", [component === "rustfmt" ? "fmt" : "clippy", "--version"], { stdio: "ignore" }).status !== 0) {
      must("rustup", ["component", "add", component])
    }
  }
})
// Beside the builds: the network gives them, and the processor is needed for little.
const sdks = run(process.execPath, [join(root, "tests/lib/sdks.mjs")])
step("format", () => must("cargo", ["fmt", "--check"]))
const programs = step("build the Rust programs and tests", buildRust)
step("generated files are up to date", () => xtask("types", "--check"))
// That the core builds without an operating system is a part of building the package.
await Promise.all([
  check("build the package", xtaskProgram, ["build"]),
  check("lints", "cargo", ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
])

// The compiler is not needed any more: from here on, only the named programs are there.
enterPrograms()
await rustTests(programs)
const { code, text } = await sdks
if (code !== 0) {
  process.stderr.write(text)
  process.exit(1)
}
packedPackage()
packedPackage("packages/session-sync")
for (const dir of ["plugin-shim/test", "packages/session-sync/test", "tests/lib", "tests/sync", "tests/compat", "tests/e2e"]) {
  await nodeTests(dir, readdirSync(join(root, dir)).filter((name) => name.endsWith(".test.mjs")).sort())
}

console.log(`\n${count.report()}`)
process.exit(count.failures.length ? 1 : 0)
