// `node tests/lib/packed.mjs DIRECTORY`, which `prepack` of each package calls: packs the package in
// that directory, unpacks it elsewhere and loads it as OpenCode does. Fails if it would not load there, so
// that what is published works. Needs nothing but Node, npm and tar.

import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { gunzipSync } from "node:zlib"

/**
 * For an npm that an npm has started, as `prepack` is: what the first was told of workspaces is not for the second, which
 * would install a part of the packages and remove the others, or pack another one; and it is no dry run.
 */
export const WHOLE = { npm_config_workspace: undefined, npm_config_workspaces: undefined, npm_config_dry_run: "false" }

/** Packs the package in the directory `source` into `dir` and unpacks it there; gives where it is. What is built is packed: `prepack` would build it again. */
export function pack(source, dir) {
  const out = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", dir], { cwd: source, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...WHOLE, npm_config_loglevel: "error" } })
  const packed = JSON.parse(out)
  const { filename } = Array.isArray(packed) ? packed[0] : Object.values(packed)[0]
  execFileSync("tar", ["-xzf", join(dir, filename), "-C", dir])
  return join(dir, "package")
}

/** Every file that the manifest names, in all its nesting. */
const files = (value) => (typeof value === "string" ? [value] : Object.values(value ?? {}).flatMap(files))

/** What is wrong with an unpacked package, one line each. */
export async function problems(dir) {
  const manifest = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"))
  const found = [...new Set(files([manifest.main, manifest.types, manifest.exports, manifest.bin]))].filter((file) => !existsSync(join(dir, file))).map((file) => `package.json names ${file}, which is not in the package`)
  return [...found, ...(await OWN[manifest.name](dir, manifest))]
}

/** What is wrong with a package of this name, beside the files that its manifest names. */
const OWN = {
  "opencode-daytona-sandbox": async (dir, { name, version, main, exports }) => [
    ...shell(join(dir, "dist/sandbox-shell")),
    ...runners(join(dir, "dist/runners")),
    ...(await loading(join(dir, exports["./server"].default), `${name} ${version} is ready`)),
    ...(await old(join(dir, main))),
  ],
  "opencode-session-sync": async (dir, { exports, bin, version }) => [
    ...(await loading(join(dir, exports["./server"].default), "no store is set up: run `opencode-sync login`")),
    ...command(join(dir, bin["opencode-sync"]), version),
  ],
}

/** A command that says its version does the rest, too, and is a program. */
function command(path, version) {
  try {
    accessSync(path, constants.R_OK)
    const said = execFileSync(process.execPath, [path, "version"], { encoding: "utf8" }).trim()
    return said === version ? [] : [`the command says that it is ${said}, not ${version}`]
  } catch (error) {
    return [`the command does not run: ${error.message}`]
  }
}

function shell(path) {
  try {
    accessSync(path, constants.X_OK)
    return []
  } catch {
    return ["dist/sandbox-shell is not there or not executable"]
  }
}

function runners(dir) {
  try {
    const index = JSON.parse(readFileSync(join(dir, "runners.json"), "utf8"))
    const machines = Object.keys(index).sort().join()
    if (machines !== "aarch64,x86_64") return [`dist/runners/runners.json is about ${machines || "no machine"}`]
    const wrong = ([, { file, sha256 }]) => createHash("sha256").update(gunzipSync(readFileSync(join(dir, file)))).digest("hex") !== sha256
    return Object.entries(index).filter(wrong).map(([machine]) => `the runner for ${machine} is not the one in runners.json`)
  } catch (error) {
    return [`the runners cannot be read: ${error.message}`]
  }
}

/** Starts the plugin with a client that only writes down what it is told, which must hold `ready`. */
async function loading(main, ready) {
  const told = []
  const client = new Proxy(() => {}, { get: (_, name) => (name === "then" ? undefined : client), apply: (_, __, args) => (told.push(JSON.stringify(args)), Promise.resolve({ data: undefined })) })
  const home = mkdtempSync(join(tmpdir(), "opencode-daytona-home-"))
  Object.assign(process.env, { HOME: home, DAYTONA_API_KEY: "none", DAYTONA_API_URL: "http://127.0.0.1:9/api" })
  for (const name of ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "OPENCODE_SYNC_URL", "OPENCODE_SYNC_API_KEY"]) delete process.env[name]
  try {
    const { default: plugin } = await import(pathToFileURL(main).href)
    const hooks = await plugin.server({ client, directory: home, worktree: home, project: { id: "packed" } }, {})
    await hooks.dispose()
    return told.some((text) => text.includes(ready)) ? [] : [`the plugin does not say "${ready}", but: ${told.join("; ").slice(0, 1000) || "nothing"}`]
  } catch (error) {
    return [`the plugin does not load: ${error.message}`]
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/** What releases up to 1.3 load: each thing that `main` exports is called. */
async function old(main) {
  try {
    const exported = Object.entries(await import(pathToFileURL(main).href))
    const functions = exported.filter(([name, value]) => name === "default" && typeof value === "function")
    return exported.length === 1 && functions.length === 1 ? [] : [`main exports more than one function, or none: ${exported.map(([name]) => name)}`]
  } catch (error) {
    return [`what releases up to 1.3 load does not load: ${error.message}`]
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dir = mkdtempSync(join(tmpdir(), "opencode-daytona-packed-"))
  try {
    const wrong = await problems(pack(resolve(process.argv[2]), dir))
    for (const problem of wrong) console.error(`The packed package would not work: ${problem}.`)
    process.exitCode = wrong.length ? 1 : 0
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
