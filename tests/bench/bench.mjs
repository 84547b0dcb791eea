// `npm run bench -- --json FILE`: all figures, measured side by side in one run. Prints a table and
// says for each figure whether it is what it must be. With `--large` also a repository with 2 GB of history
// (some minutes, and 15 GB of disk).

import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir, cpus } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { gunzipSync } from "node:zlib"
import { ensurePackage, ensurePackages, ensurePrograms, ensureTools, enterPrograms, must } from "../lib/setup.mjs"
import { home, homeRows } from "./home.mjs"
import { large, largeRows } from "./large.mjs"
import { local as measureLocal, localRows } from "./local.mjs"
import { median } from "./median.mjs"
import { sync, syncRows } from "./sync.mjs"

const args = process.argv.slice(2)
const jsonFile = args.includes("--json") ? args[args.indexOf("--json") + 1] : undefined
const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, "../..")

ensureTools()
ensurePackages()
ensurePrograms()
ensurePackage({ reuse: true })
must("cargo", ["build", "--quiet", "--locked", "--release", "--package", "daytona-local"])
enterPrograms()
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target")
process.env.DAYTONA_LOCAL_BIN ??= join(target, "release/daytona-local")
const { createWorld, startLocal, opencodeBinary, packedPackage, git } = await import("../lib/world.mjs")

const base = mkdtempSync(join(tmpdir(), "opencode-bench-"))
const figures = { machine: { cores: cpus().length, model: cpus()[0].model, node: process.version } }
const local = await startLocal()

try {
  const packed = packedPackage()
  const module = join(packed, "dist/index.js")
  const project = join(base, "project")
  mkdirSync(project)
  writeFileSync(join(project, "README.md"), "# bench\n")
  git(project, "init", "--quiet", "--initial-branch=main")
  git(project, "add", "--all")
  git(project, "commit", "--quiet", "--message=first")
  const env = { PATH: process.env.PATH, HOME: base, BUN_BE_BUN: "1", DAYTONA_API_URL: local.url, DAYTONA_API_KEY: local.apiKey }
  const bun = (orders) => {
    const out = execFileSync(opencodeBinary(), ["run", join(here, "plugin.mjs"), JSON.stringify(orders)], { cwd: project, env, encoding: "utf8", maxBuffer: 1 << 26 })
    return JSON.parse(out.trim().split("\n").at(-1))
  }
  const orders = { module, directory: project, worktree: project, project: "bench", session: "ses_bench", options: {}, server: local.url.replace(/\/api$/, "") }

  console.log("start-up …")
  const sdk = join(root, "node_modules/@daytona/sdk/esm/index.js")
  const startup = { plugin: [], sdk: [] }
  for (let i = 0; i < 9; i++) {
    startup.plugin.push(bun({ ...orders, kind: "startup-plugin" }).ms)
    startup.sdk.push(bun({ kind: "startup-sdk", module: sdk }).ms)
  }
  figures.startup = { pluginMs: median(startup.plugin), sdkImportMs: median(startup.sdk) }
  figures.startup.ratio = figures.startup.pluginMs / figures.startup.sdkImportMs

  console.log("creating a sandbox, alone …")
  await local.latency(40)
  const create = []
  for (let i = 0; i < 3; i++) {
    const t = performance.now()
    const sandbox = await local.api("POST", "/sandbox", { labels: { bench: "create" } })
    create.push(performance.now() - t)
    await local.latency(0)
    await local.api("DELETE", `/sandbox/${sandbox.id}`)
    await local.latency(40)
  }
  await local.latency(0)

  console.log("warm calls …")
  const calls = bun({ ...orders, kind: "calls", latencies: [0, 40], rounds: 25 })
  figures.roundTrips = calls.roundTrips
  figures.firstUse = { ...calls.firstUse, createMs: median(create) }
  figures.warmMs = calls.warmMs
  figures.parallel = calls.parallel

  console.log("live output …")
  figures.live = await live(local)

  console.log("there and home again …")
  figures.home = await home({ base, local, bun, orders })

  console.log("search over 100,000 files …")
  figures.search = search(base, packed)

  console.log("large projects …")
  const command = (given) => [opencodeBinary(), ["run", join(here, "plugin.mjs"), JSON.stringify(given)], { cwd: given.directory, env }]
  figures.large = await large({ base, local, command, orders, runner: runnerIn(base), isWhole: args.includes("--large") })

  console.log("daytona-local by itself …")
  figures.local = await measureLocal()

  console.log("session sync …")
  figures.sync = await sync()

  const dist = join(packed, "dist")
  const runners = JSON.parse(readFileSync(join(dist, "runners/runners.json"), "utf8"))
  const unpacked = Number(execFileSync("du", ["-sb", packed], { encoding: "utf8" }).split("\t")[0])
  const compressed = Object.values(runners).reduce((sum, runner) => sum + statSync(join(dist, "runners", runner.file)).size, 0)
  const manifest = JSON.parse(readFileSync(join(packed, "package.json"), "utf8"))
  const tarball = execFileSync("sh", ["-c", `ls -1 ${JSON.stringify(process.env.OPENCODE_DAYTONA_PACKED)}/*.tgz`], { encoding: "utf8" }).trim()
  figures.footprint = {
    packedBytes: statSync(tarball).size,
    unpackedBytes: unpacked,
    unpackedWithoutRunnersBytes: unpacked - compressed,
    runtimePackages: Object.keys(manifest.dependencies ?? {}).length,
  }
  figures.wasmBytes = statSync(join(dist, "generated/core_bg.wasm")).size
  figures.runnerBytes = Object.fromEntries(Object.entries(runners).map(([arch, runner]) => [arch, { binary: runner.bytes, compressed: statSync(join(dist, "runners", runner.file)).size }]))
} finally {
  await local.stop()
  rmSync(base, { recursive: true, force: true })
}

/** From the moment at which a command prints to the event that the terminal UI draws, at 40 ms. */
async function live(local) {
  const world = await createWorld({ local, files: { "a.txt": "a\n" } })
  try {
    const opencode = await world.serve()
    const session = await opencode.session()
    // In sandboxes of this machine, whose clock is ours.
    const command = "date +%s%3N; sleep 3"
    world.model.scripts.slow = [{ calls: [["bash", { command }]] }]
    await opencode.prompt(session, "script:slow")
    await local.latency(40)
    const delays = []
    for (let i = 0; i < 5; i++) {
      let first
      const stop = await opencode.watch(({ type, properties }) => {
        const state = properties?.part?.state
        if (type === "message.part.updated" && state?.status === "running" && /^\d{13}/.test(state.metadata?.output)) first ??= Date.now() - Number(state.metadata.output)
      })
      await opencode.prompt(session, "script:slow")
      await stop()
      delays.push(first ?? Infinity)
    }
    await local.latency(0)
    return { firstTextMs: median(delays), worstMs: Math.max(...delays) }
  } finally {
    await world.close()
  }
}

/** Where the packaged runner is unpacked to. */
const runnerIn = (base) => join(base, "runner")

/** The runner against `rg`, each as a whole process, in turns. */
function search(base, packed) {
  const tree = join(base, "tree")
  for (let d = 0; d < 1000; d++) {
    const dir = join(tree, `d${d % 10}`, `e${d}`)
    mkdirSync(dir, { recursive: true })
    for (let f = 0; f < 100; f++) {
      const needle = d === 777 && f === 7 ? "the needle is here\n" : ""
      writeFileSync(join(dir, f % 10 ? `f${f}.txt` : `f${f}.rs`), `file ${f} of directory ${d}\nfn main() {}\n${needle}some more text to read\n`)
    }
  }
  const runner = runnerIn(base)
  writeFileSync(runner, gunzipSync(readFileSync(join(packed, "dist/runners", `runner-${process.arch === "arm64" ? "aarch64" : "x86_64"}.gz`))), { mode: 0o755 })
  const rg = { path: "rg", version: execFileSync("rg", ["--version"], { encoding: "utf8" }).split("\n")[0] }
  let serial = 0
  const request = (tool, args) => ({ protocol: 3, id: `bench${process.pid}x${serial++}`, op: "tool", root: tree, cwd: tree, tool, args })
  const time = (command, args, env) => {
    const t = performance.now()
    const result = spawnSync(command, args, { cwd: tree, env: { PATH: process.env.PATH, HOME: base, ...env }, encoding: "utf8", maxBuffer: 1 << 28 })
    const ms = performance.now() - t
    if (result.error || !result.stdout) throw new Error(`${command}: ${result.error ?? result.stderr}`)
    return { ms, out: result.stdout }
  }
  const run = (tool, args) => time(runner, [], { OPENCODE_RUNNER_REQUEST_0: JSON.stringify(request(tool, args)) })
  // What OpenCode's own tools ask ripgrep for, hidden files and all.
  const cases = {
    grep: [() => run("grep", { pattern: "the needle is" }), () => time(rg.path, ["-n", "--hidden", "--glob", "!.git", "--no-messages", "the needle is", tree])],
    glob: [() => run("glob", { pattern: "**/e777/*.rs" }), () => time(rg.path, ["--files", "--glob", "**/e777/*.rs", tree])],
  }
  const out = { files: 100_000, rg: rg.version }
  for (const [name, [ours, theirs]] of Object.entries(cases)) {
    const found = [ours().out, theirs().out]
    if (!found.every((text) => text.includes("e777"))) throw new Error(`${name} found something else: ${found}`)
    const times = { runner: [], rg: [] }
    for (let i = 0; i < 7; i++) {
      times.runner.push(ours().ms)
      times.rg.push(theirs().ms)
    }
    out[name] = { runnerMs: median(times.runner), rgMs: median(times.rg), ratio: median(times.runner.map((ms, i) => ms / times.rg[i])) }
  }
  return out
}

const round = (key, value) => (typeof value === "number" && !Number.isInteger(value) ? Math.round(value * 1000) / 1000 : value)
const text = JSON.stringify(figures, round, 2)
if (jsonFile) writeFileSync(jsonFile, `${text}\n`)
console.log(text)

const rows = []
const must_ = (name, value, limit, ok) => rows.push({ figure: name, measured: round("", value), must: limit, ok: ok ? "yes" : "NO" })
for (const [tool, count] of Object.entries(figures.roundTrips)) must_(`round trips, warm ${tool}`, count, "1", count === 1)
for (const [tool, byLatency] of Object.entries(figures.warmMs)) {
  const ratio = byLatency[40].median / (40 + byLatency[0].median)
  must_(`warm ${tool} at 40 ms / (40 ms + at 0 ms)`, ratio, "≤ 1.25", ratio <= 1.25)
}
must_("start-up / importing @daytona/sdk", figures.startup.ratio, "≤ 0.35", figures.startup.ratio <= 0.35)
must_("run-time packages", figures.footprint.runtimePackages, "≤ 1", figures.footprint.runtimePackages <= 1)
must_("unpacked bytes without runners", figures.footprint.unpackedWithoutRunnersBytes, "≤ 3 MB", figures.footprint.unpackedWithoutRunnersBytes <= 3_000_000)
for (const name of ["grep", "glob"]) {
  const ratio = figures.search[name].ratio
  must_(`${name} over 100,000 files / rg`, ratio, "≤ 1.5", ratio <= 1.5)
}
must_("live output: first text at 40 ms, ms", figures.live.firstTextMs, "≤ 250", figures.live.firstTextMs <= 250)
must_("parallel edits of one file applied", figures.parallel.edits, "8", figures.parallel.edits === 8)
for (const row of homeRows(figures.home)) must_(...row)
for (const row of largeRows(figures.large)) must_(...row)
for (const row of localRows(figures.local)) must_(...row)
for (const row of syncRows(figures.sync)) must_(...row)
console.table(rows)
process.exit(rows.every((row) => row.ok === "yes") ? 0 : 1)
