// `npm test`: set-up, then every check. CI calls this and nothing else.

import { spawn, spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { Count } from "./lib/count.mjs"
import { buildRust, runRust } from "./lib/rust.mjs"
import { ensurePackages, ensurePrograms, ensureTools, enterPrograms, must, step, xtask } from "./lib/setup.mjs"
import { packedPackage } from "./lib/world.mjs"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..")
const count = new Count()

/** Runs test files, shows the output, and counts what it says. */
function nodeTests(dir, files) {
  return new Promise((done) => {
    const start = Date.now()
    process.stdout.write(`\n== ${dir}\n`)
    const args = ["--test", "--test-reporter=tap", "--test-concurrency=2", ...files.map((name) => join(dir, name))]
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
    let text = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        process.stdout.write(data)
        text += data
      })
    }
    child.on("close", (code) => {
      count.node(dir, code, text)
      process.stdout.write(`== ${dir}: ${((Date.now() - start) / 1000).toFixed(1)} s\n`)
      done()
    })
  })
}

/** Runs the Rust tests, two programs at a time, the slow ones first. */
async function rustTests(programs) {
  const start = Date.now()
  const slow = ["plugin: core", "runner: runner", "sessions: processes", "sync: home"]
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
  for (const component of ["rustfmt", "clippy"]) {
    if (spawnSync("cargo", [component === "rustfmt" ? "fmt" : "clippy", "--version"], { stdio: "ignore" }).status !== 0) {
      must("rustup", ["component", "add", component])
    }
  }
})
step("format", () => must("cargo", ["fmt", "--check"]))
const programs = step("build the Rust programs and tests", buildRust)
step("generated files are up to date", () => xtask("types", "--check"))
step("build the package", () => xtask("build"))
step("lints", () => must("cargo", ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]))
step("the core builds without an operating system", () =>
  must("cargo", ["clippy", "--quiet", "--locked", "--package", "plugin", "--package", "opencode-daytona-wasm", "--target", "wasm32-unknown-unknown", "--", "--deny", "warnings"]))

// The compiler is not needed any more: from here on, only the named programs are there.
enterPrograms()
await rustTests(programs)
packedPackage()
for (const dir of ["plugin-shim/test", "tests/lib", "tests/compat", "tests/e2e"]) {
  await nodeTests(dir, readdirSync(join(root, dir)).filter((name) => name.endsWith(".test.mjs")).sort())
}

console.log(`\n${count.report()}`)
process.exit(count.failures.length ? 1 : 0)
