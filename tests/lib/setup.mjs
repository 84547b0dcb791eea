// Everything a fresh clone needs before anything runs: npm packages, Rust components, bubblewrap,
// the built package and daytona-local. Fails loudly, with the command that helps.

import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/** Runs a command in the repository; ends this process if it fails. */
export function must(command, args, { env = {}, quiet = false, hint } = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: quiet ? ["ignore", "pipe", "pipe"] : "inherit", encoding: "utf8", maxBuffer: 1 << 28, env: { ...process.env, ...env } })
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
  if (Number(process.versions.node.split(".")[0]) < 20) {
    console.error(`Node 20 or newer is needed; this is ${process.version}.`)
    process.exit(1)
  }
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

/** Each of these says whether it had anything to do; `quiet` shows a command's output only if it fails. */
export function ensurePackages({ quiet = false } = {}) {
  if (existsSync(join(root, "node_modules/.package-lock.json"))) return false
  must(process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--no-fund", "--no-audit"], { quiet })
  return true
}

export const packageIsBuilt = () => existsSync(join(root, "dist/runners/runners.json")) && existsSync(join(root, "dist/index.js"))

/** Builds `dist/`, unless it is there and `reuse` allows it. */
export function ensurePackage({ reuse = false, quiet = false } = {}) {
  if (reuse && packageIsBuilt()) return false
  must("cargo", ["xtask", "build"], { quiet })
  return true
}

/** Builds daytona-local, unless `DAYTONA_LOCAL_BIN` names one that is built. */
export function ensureLocal({ quiet = false } = {}) {
  if (process.env.DAYTONA_LOCAL_BIN) return false
  must("cargo", ["build", "--quiet", "--locked", "--package", "daytona-local"], { quiet })
  return true
}

