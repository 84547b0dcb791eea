// Everything a fresh clone needs before anything runs: npm packages, the programs, the built package
// and daytona-local. Fails loudly, with the command that helps. `node tests/lib/setup.mjs` does all
// but the builds.

import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { installedAsLocked } from "./lock.mjs"
import { WHOLE } from "./packed.mjs"
import { providePrograms, searchPath } from "./programs.mjs"
import { ensureRelease, NPM_TEST } from "./releases.mjs"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/** Runs a command in the repository; ends this process if it fails. Its output is shown, kept (`capture`), or shown only if it fails (`quiet`). */
export function must(command, args, { env = {}, quiet = false, capture = false, hint } = {}) {
  const stdio = quiet ? ["ignore", "pipe", "pipe"] : capture ? ["ignore", "pipe", "inherit"] : "inherit"
  const result = spawnSync(command, args, { cwd: root, stdio, encoding: "utf8", maxBuffer: 1 << 28, env: { ...process.env, ...env } })
  if (result.status === 0) return result.stdout ?? ""
  if (quiet) process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`)
  fail(`${command} ${args.join(" ")} failed${result.error ? `: ${result.error.message}` : ` with ${result.status}`}.${hint ? ` ${hint}` : ""}`)
}

function fail(text) {
  console.error(`\n${text}`)
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
  if (Number(process.versions.node.split(".")[0]) < 20) fail(`Node 20 or newer is needed; this is ${process.version}.`)
  if (!works("cargo", "--version")) must("cargo", ["--version"], { hint: "Install Rust: https://rustup.rs" })
  if (!works("git", "--version")) must("git", ["--version"], { hint: "Install git." })
}

/** The programs that everything after the builds may find: see `programs.mjs`. Needs the npm packages, which bring ripgrep. */
export function ensurePrograms() {
  const problem = providePrograms()
  if (problem) fail(problem)
  const hint = "bubblewrap, which isolates local sandboxes, needs user namespaces; on Ubuntu they are allowed by `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`."
  must("bwrap", ["--unshare-all", "--ro-bind", "/", "/", "true"], { quiet: true, hint })
}

/** From here on, this process and all that it starts find the named programs only. A git hook that starts the tests says where its repository is; theirs are elsewhere. */
export function enterPrograms() {
  process.env.PATH = searchPath()
  for (const name of Object.keys(process.env)) if (name.startsWith("GIT_")) delete process.env[name]
}

/** All of it, for a command that runs the real OpenCode with the built package. */
export function prepare() {
  ensureTools()
  ensurePackages()
  ensurePrograms()
  ensurePackage({ reuse: true })
  ensureLocal()
  enterPrograms()
}

/** Each of these says whether it had anything to do; `quiet` shows a command's output only if it fails. */
export function ensurePackages({ quiet = false } = {}) {
  if (installedAsLocked(root)) return false
  must(process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--no-fund", "--no-audit"], { quiet, env: WHOLE })
  return true
}

/** Installs releases of OpenCode beside the pinned one: see `releases.mjs`. */
export function ensureReleases(versions) {
  for (const version of versions) {
    try {
      ensureRelease(version)
    } catch (error) {
      fail(error.message)
    }
  }
}

export const packageIsBuilt = () => ["plugin-shim/dist/runners/runners.json", "plugin-shim/dist/index.js", "packages/session-sync/dist/index.js"].every((path) => existsSync(join(root, path)))

/** The build, as a program that `buildRust` has made: `cargo xtask` would compile it once more, with fewer features. */
export const xtaskProgram = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/xtask")
export const xtask = (...args) => must(xtaskProgram, args)

/** Builds the packages, unless they are built and `reuse` allows it. */
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // What the build calls, which must not wait for programs that only tests need.
  const packagesOnly = process.argv[2] === "packages"
  if (!packagesOnly) ensureTools()
  ensurePackages()
  if (!packagesOnly) {
    ensurePrograms()
    ensureReleases(NPM_TEST)
  }
}
