// The releases of OpenCode that the plugin is tested with, and their installation. Every version is
// exact, so that a run can be repeated; only what is newer than the whole list is asked from npm.
//
// A process that has `OPENCODE_RELEASE=DIRECTORY` in its environment tests with the release that is
// installed there (world.mjs), any other with the pinned one of package.json.

import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve, dirname } from "node:path"
import { fileURLToPath } from "node:url"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

/** What a package says that is installed in `modules`. */
const installed = (modules, name) => {
  try {
    return JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")).version
  } catch {
    return undefined
  }
}

/** The release of package.json, with which everything is tested. */
export const PINNED = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies["opencode-ai"]

/**
 * version   a release of `opencode-ai`
 * expect    `refuses`: every tool says why and nothing runs; `serves`: every promise holds
 * why       why this one is in the list
 * more      packages that it needs beside its own
 */
export const RELEASES = [
  { version: "1.0.0", expect: "refuses", why: "the oldest 1.x", more: ["@ai-sdk/openai-compatible@1.0.22"] },
  { version: "1.1.65", expect: "refuses", why: "the newest 1.1" },
  { version: "1.2.27", expect: "refuses", why: "the newest 1.2" },
  { version: "1.3.2", expect: "refuses", why: "the newest 1.3 that can be installed" },
  { version: "1.14.34", expect: "refuses", why: "the oldest that loads the plugin as an object" },
  { version: "1.15.4", expect: "refuses", why: "the newest without promises for permission questions" },
  { version: "1.15.13", expect: "serves", why: "the oldest that is served" },
  { version: "1.17.18", expect: "serves", why: "the newest 1.17 that can be installed with its plugin API" },
  { version: PINNED, expect: "serves", why: "the pinned one" },
]

/** The oldest release that is served. */
export const FLOOR = "1.15.13"

/** What `npm test` runs of them, beside the pinned one. */
export const NPM_TEST = ["1.3.2", FLOOR]

/** Of two versions, which is newer: negative, zero or positive, as `sort` wants it. */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number))
  return left.map((part, at) => part - right[at]).find((difference) => difference) ?? 0
}

/** Whether `version` is older than `other`. */
export const below = (version, other) => compareVersions(version, other) < 0

/** The release that this process tests with. */
export const release = () => installed(process.env.OPENCODE_RELEASE ? join(process.env.OPENCODE_RELEASE, "node_modules") : join(root, "node_modules"), "opencode-ai")

/** What is expected of the release that this process tests with. */
export const expected = () => RELEASES.find(({ version }) => version === release())?.expect ?? "serves"

/** Whether this process tests with a release that an entry of a table is about: from `from` on, and below `below`. */
export const concerns = ({ from, below: end }) => !(from && below(release(), from)) && !(end && !below(release(), end))

/** Arguments that a release's own tools demand, and today's do not. */
const DEMANDED = [{ below: "1.17.0", tool: "bash", args: { description: "x" } }]

/** Calls that a release cannot be given: the turn does not end, or its messages cannot be read any more. */
const STUCK = [
  { below: "1.15.13", what: "arguments that are a list", is: (tool, args) => typeof args === "string" && args.startsWith("[") },
  { from: "1.1.0", below: "1.2.0", what: "a question whose answer is the end of the turn", is: (tool) => tool === "plan_enter" },
]

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value)
const demanded = (tool) => Object.assign({}, ...DEMANDED.filter((entry) => entry.tool === tool.toLowerCase() && concerns(entry)).map(({ args }) => args))

/** Tool calls as this release can take them. */
export const fitting = (calls) =>
  calls.filter(([tool, args]) => !STUCK.some((entry) => concerns(entry) && entry.is(tool, args))).map(([tool, args]) => [tool, isObject(args) ? { ...demanded(tool), ...args } : args])

/** Scripts of the model, likewise. */
export const fittingScript = (script) => script.map((step) => (step.calls ? { ...step, calls: fitting(step.calls) } : step))

/** Where a release is, or will be, installed: the pinned one with the packages of the repository. */
export const releaseDirectory = (version) => (version === PINNED ? root : join(root, ".cache/opencode", version))

const platform = `opencode-${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`

function isInstalled(version, dir = releaseDirectory(version)) {
  const modules = join(dir, "node_modules")
  return ["opencode-ai", "@opencode-ai/plugin"].every((name) => installed(modules, name) === version) && existsSync(join(modules, platform, "bin"))
}

const npm = (args, cwd) => spawnSync(process.platform === "win32" ? "npm.cmd" : "npm", args, { cwd, encoding: "utf8", maxBuffer: 1 << 26 })

/** Installs a release where it is not installed yet, and gives its directory. Throws a sentence if that cannot be done. */
export function ensureRelease(version, { more } = RELEASES.find((entry) => entry.version === version) ?? {}) {
  const dir = releaseDirectory(version)
  if (isInstalled(version)) return dir
  if (dir === root) throw new Error(`OpenCode ${version} is not installed: run \`npm ci\`.`)
  // Aside first: half of an installation must not be taken for one.
  const aside = `${dir}.${process.pid}`
  rmSync(aside, { recursive: true, force: true })
  mkdirSync(aside, { recursive: true })
  try {
    writeFileSync(join(aside, "package.json"), JSON.stringify({ private: true }))
    const packages = [`opencode-ai@${version}`, `@opencode-ai/plugin@${version}`, ...(more ?? [])]
    const { status, stderr, error } = npm(["install", "--save-exact", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel", "error", ...packages], aside)
    if (status !== 0) throw new Error(`OpenCode ${version} cannot be installed: \`npm install ${packages.join(" ")}\` failed: ${(stderr || error?.message || "").trim().slice(0, 600)}`)
    const modules = join(aside, "node_modules")
    // Each of its builds for other processors and C libraries is 130 MB.
    for (const name of readdirSync(modules)) if (name.startsWith(`${platform}-`)) rmSync(join(modules, name), { recursive: true })
    if (!isInstalled(version, aside)) throw new Error(`OpenCode ${version} cannot be installed: npm brought no package ${platform} with a program, or another version.`)
    rmSync(dir, { recursive: true, force: true })
    renameSync(aside, dir)
  } finally {
    rmSync(aside, { recursive: true, force: true })
  }
  return dir
}

/** The newest release of OpenCode 1 that npm has, if it is newer than the list; throws if npm does not say. */
export function newerThanList() {
  const { status, stdout, stderr } = npm(["view", "opencode-ai", "versions", "--json"], root)
  if (status !== 0) throw new Error(`npm does not say which releases of OpenCode there are: ${stderr.trim().slice(0, 600)}`)
  const newest = JSON.parse(stdout).filter((version) => /^1\.\d+\.\d+$/.test(version)).sort(compareVersions).at(-1)
  return newest && below(RELEASES.at(-1).version, newest) ? { version: newest, expect: "serves", why: "the newest of all" } : undefined
}
