// Everything a fresh clone needs before anything runs: npm packages, Rust components, bubblewrap,
// the built package and daytona-local. Fails loudly, with the command that helps.

import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/** Runs a command in the repository; ends this process if it fails. */
export function must(command, args, { env = {}, quiet = false, hint } = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: quiet ? ["ignore", "pipe", "pipe"] : "inherit", encoding: "utf8", env: { ...process.env, ...env } })
  if (result.status === 0) return result.stdout ?? ""
  if (quiet) process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`)
  console.error(`\n${command} ${args.join(" ")} failed${result.error ? `: ${result.error.message}` : ` with ${result.status}`}.${hint ? ` ${hint}` : ""}`)
  process.exit(1)
}

const works = (command, ...args) => spawnSync(command, args, { stdio: "ignore", timeout: 60_000 }).status === 0

/** Names a step and how long it took. */
export function step(name, work) {
  const start = Date.now()
  process.stdout.write(`\n== ${name}\n`)
  const result = work()
  process.stdout.write(`== ${name}: ${((Date.now() - start) / 1000).toFixed(1)} s\n`)
  return result
}

export function ensureTools() {
  if (!works("cargo", "--version")) must("cargo", ["--version"], { hint: "Install Rust: https://rustup.rs" })
  if (!works("git", "--version")) must("git", ["--version"], { hint: "Install git." })
}

/** bubblewrap isolates local sandboxes. Installed where that needs no question. */
export function ensureBubblewrap() {
  const sandbox = ["--unshare-all", "--ro-bind", "/", "/", "true"]
  if (works("bwrap", ...sandbox)) return
  const hint = "Local sandboxes need bubblewrap: `sudo apt-get install bubblewrap` (Debian, Ubuntu), `sudo dnf install bubblewrap` (Fedora). It also needs user namespaces."
  if (!works("bwrap", "--version")) {
    if (process.getuid?.() !== 0 || !existsSync("/etc/debian_version")) must("bwrap", ["--version"], { quiet: true, hint })
    must("apt-get", ["update", "-qq"], { quiet: true, hint })
    must("apt-get", ["install", "-y", "-qq", "bubblewrap"], { quiet: true, hint })
  }
  must("bwrap", sandbox, { quiet: true, hint })
}

export function ensurePackages() {
  if (existsSync(join(root, "node_modules/.package-lock.json"))) return
  must(process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--no-fund", "--no-audit"])
}

/** Builds `dist/`, unless it is there and `reuse` allows it. */
export function ensurePackage({ reuse = false } = {}) {
  if (reuse && existsSync(join(root, "dist/runners/runners.json")) && existsSync(join(root, "dist/index.js"))) return
  must("cargo", ["xtask", "build"])
}

export function ensureLocal() {
  must("cargo", ["build", "--quiet", "--locked", "--package", "daytona-local"])
}

/**
 * A home directory in which OpenCode has started once: it installs its plugin API there, which
 * takes seconds, and every test would pay for it.
 */
export async function homeTemplate() {
  if (process.env.OPENCODE_HOME_TEMPLATE && existsSync(process.env.OPENCODE_HOME_TEMPLATE)) return
  const { createWorld } = await import("./world.mjs")
  const { cpSync } = await import("node:fs")
  const dir = mkdtempSync(join(tmpdir(), "opencode-home-"))
  delete process.env.OPENCODE_HOME_TEMPLATE
  const world = await createWorld({ files: { "a.txt": "a\n" }, local: null, config: { plugin: [] }, scripts: {} })
  try {
    const first = await world.run("hello")
    if (first.code !== 0) throw new Error(`opencode does not run: ${first.stderr}`)
    const opencode = await world.serve()
    await opencode.session()
    await opencode.stop()
    for (const part of [".config", ".cache", ".bun"]) {
      if (existsSync(join(world.home, part))) cpSync(join(world.home, part), join(dir, part), { recursive: true })
    }
  } finally {
    await world.close()
  }
  process.env.OPENCODE_HOME_TEMPLATE = dir
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }))
}
