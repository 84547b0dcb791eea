// `npm test`: set-up, then every check. CI calls this and nothing else.

import { spawn, spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { ensureBubblewrap, ensureLocal, ensurePackage, ensurePackages, ensureTools, must, step } from "./lib/setup.mjs"
import { packedPackage } from "./lib/world.mjs"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..")
const totals = { passed: 0, failed: 0, skipped: 0 }
const failures = []

/** Runs a command, shows its output, and counts what its closing lines say. */
function counted(name, command, args) {
  return new Promise((done) => {
    const start = Date.now()
    process.stdout.write(`\n== ${name}\n`)
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
    let text = ""
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        process.stdout.write(data)
        text += data
      })
    }
    child.on("close", (code) => {
      let ran = 0
      const count = (kind, pattern) => {
        for (const found of text.matchAll(pattern)) {
          totals[kind] += Number(found[1])
          ran += Number(found[1])
        }
      }
      count("passed", /^test result: .*? (\d+) passed/gm)
      count("failed", /^test result: .*? (\d+) failed/gm)
      count("skipped", /^test result: .*? (\d+) ignored/gm)
      count("passed", /^# pass (\d+)/gm)
      count("failed", /^# fail (\d+)/gm)
      count("skipped", /^# skipped (\d+)/gm)
      if (code !== 0) failures.push(`${name} (exit code ${code})`)
      else if (ran === 0) failures.push(`${name} ran no test`)
      process.stdout.write(`== ${name}: ${((Date.now() - start) / 1000).toFixed(1)} s\n`)
      done()
    })
  })
}

step("set-up", () => {
  ensureTools()
  ensureBubblewrap()
  ensurePackages()
  for (const component of ["rustfmt", "clippy"]) {
    if (spawnSync("cargo", [component === "rustfmt" ? "fmt" : "clippy", "--version"], { stdio: "ignore" }).status !== 0) {
      must("rustup", ["component", "add", component])
    }
  }
})
step("format", () => must("cargo", ["fmt", "--check"]))
step("generated files are up to date", () => must("cargo", ["xtask", "types", "--check"]))
step("build the package", () => ensurePackage())
step("build daytona-local", () => ensureLocal())
step("lints", () => must("cargo", ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]))
step("the core builds without an operating system", () =>
  must("cargo", ["clippy", "--quiet", "--locked", "--package", "plugin", "--package", "opencode-daytona-wasm", "--target", "wasm32-unknown-unknown", "--", "--deny", "warnings"]))
await counted("Rust tests", "cargo", ["test", "--locked", "--workspace", "--all-features", "--no-fail-fast"])

packedPackage()
for (const dir of ["plugin-shim/test", "tests/compat", "tests/e2e"]) {
  const files = readdirSync(join(root, dir)).filter((name) => name.endsWith(".test.mjs")).sort()
  await counted(dir, process.execPath, [
    "--test",
    "--test-reporter=tap",
    "--test-concurrency=2",
    ...files.map((name) => join(dir, name)),
  ])
}

console.log()
for (const failure of failures) console.log(`FAILED: ${failure}`)
const failed = Math.max(totals.failed, failures.length)
console.log(`${totals.passed} passed, ${failed} failed, ${totals.skipped} skipped`)
process.exit(failures.length ? 1 : 0)
