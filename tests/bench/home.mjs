// What it costs to carry a project there and the work home: requests, bytes, time. The repositories are
// made here, the same every time; what git itself sends for a clone is the measure.

import { execFileSync, spawn } from "node:child_process"
import { createCipheriv } from "node:crypto"
import { once } from "node:events"
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { git } from "../lib/world.mjs"
import { median } from "./median.mjs"

const FILES = 10_000
const MB = 1_000_000
const LATENCY = 40
const ROUNDS = 5
/** As deep as the plugin sends a history. */
const DEPTH = 50

/** Bytes that nothing compresses, the same in every run. */
function noise() {
  const stream = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16))
  return (bytes) => stream.update(Buffer.alloc(bytes))
}

/** A repository of 10,000 small files; each of `commits` rewrites some of them, and 512 KB of assets. */
async function repository(dir, commits) {
  mkdirSync(dir)
  git(dir, "init", "--quiet", "--initial-branch=main")
  const random = noise()
  const importing = spawn("git", ["fast-import", "--quiet"], { cwd: dir, stdio: ["pipe", "inherit", "inherit"] })
  const ended = once(importing, "exit")
  const send = (data) => importing.stdin.write(data) || once(importing.stdin, "drain")
  const file = async (path, content) => {
    await send(`M 100644 inline ${path}\ndata ${content.length}\n`)
    await send(content)
    await send("\n")
  }
  const small = (n, version) => file(`src/d${n % 100}/file${n}.txt`, Buffer.from(`file ${n}, version ${version}\n${"some text of it\n".repeat(n % 20)}`))
  for (let commit = 0; commit < commits; commit++) {
    const message = `Commit ${commit}`
    await send(`commit refs/heads/main\ncommitter Bench <bench@example.org> ${1_700_000_000 + commit * 3600} +0000\ndata ${message.length}\n${message}\n`)
    for (let n = 0; n < (commit ? 10 : FILES); n++) await small(commit ? (commit * 10 + n) % FILES : n, commit)
    for (let n = 0; n < 4; n++) await file(`assets/${(commit * 4 + n) % 40}.bin`, random(128 * 1024))
    await send("\n")
  }
  importing.stdin.end()
  const [code] = await ended
  if (code !== 0) throw new Error(`git fast-import ended with ${code}`)
  git(dir, "reset", "--quiet", "--hard")
  return dir
}

const sizeOf = (dir) => readdirSync(dir, { recursive: true }).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0)

/** Bytes of the pack that git itself sends for a clone of this depth. */
function cloned(dir, into) {
  execFileSync("git", ["clone", "--quiet", "--bare", `--depth=${DEPTH}`, `file://${dir}`, into])
  const packs = join(into, "objects/pack")
  const bytes = readdirSync(packs).filter((name) => name.endsWith(".pack")).reduce((sum, name) => sum + statSync(join(packs, name)).size, 0)
  rmSync(into, { recursive: true })
  return bytes
}

/** Milliseconds of a create and nothing else. */
async function createAlone(local) {
  await local.latency(LATENCY)
  const start = performance.now()
  const { id } = await local.api("POST", "/sandbox", {})
  const ms = performance.now() - start
  await local.latency(0)
  await local.api("DELETE", `/sandbox/${id}`)
  return ms
}

/** Measures; `bun` runs orders in OpenCode's Bun, `orders` are those of every run. */
export async function home({ base, local, bun, orders }) {
  const run = (directory, session) => bun({ ...orders, kind: "home", directory, worktree: directory, project: session, session, latencyMs: LATENCY, options: { ...orders.options, prewarm: false } })
  const tiny = join(base, "tiny")
  mkdirSync(tiny)
  git(tiny, "init", "--quiet", "--initial-branch=main")
  git(tiny, "commit", "--quiet", "--allow-empty", "--message=first")
  // The runner goes up with every project; an empty one tells how much that is.
  const empty = run(tiny, "ses_tiny")

  console.log("  10,000 files …")
  const wide = await repository(join(base, "wide"), 1)
  // Side by side, so that both meet the same machine.
  const creates = []
  const firsts = []
  for (let n = 0; n < ROUNDS; n++) {
    creates.push(await createAlone(local))
    firsts.push(run(wide, `ses_wide${n}`).first)
  }
  rmSync(wide, { recursive: true })

  console.log("  200 MB of history …")
  const deep = await repository(join(base, "deep"), 410)
  const historyBytes = sizeOf(join(deep, ".git"))
  if (historyBytes < 200 * MB) throw new Error(`the history has ${historyBytes} bytes only`)
  const { first, unchanged, changed } = run(deep, "ses_deep")
  const landed = git(deep, "for-each-ref", "--format=%(refname:short)", "refs/heads/opencode").split("\n")
  if (!landed.some((branch) => branch && git(deep, "show", `${branch}:src/d1/file1.txt`).startsWith("changed"))) throw new Error(`the change did not come home: ${landed}`)
  const cloneBytes = cloned(deep, join(base, "clone"))
  rmSync(deep, { recursive: true })
  return {
    files: FILES,
    createMs: median(creates),
    first: { ms: median(firsts.map(({ ms }) => ms)), allMs: firsts.map(({ ms }) => ms), requests: Math.max(...firsts.map(({ requests }) => requests)) },
    deep: { historyBytes, firstMs: first.ms, uploadedBytes: first.uploaded - empty.first.uploaded, cloneBytes },
    unchanged,
    changed,
  }
}

/** The figures as rows: name, value, limit in words, whether it holds. */
export function homeRows({ first, createMs, deep, unchanged, changed }) {
  const upload = deep.uploadedBytes / deep.cloneBytes
  const late = first.ms - createMs
  return [
    ["requests of a sync, nothing changed", unchanged.requests, "≤ 1", unchanged.requests <= 1],
    ["requests of a sync, one line changed", changed.requests, "≤ 2", changed.requests <= 2],
    ["bytes home for one line, 10,000 files and 200 MB of history", changed.received, "≤ 20 KB", changed.received <= 20_000],
    [`bytes up for a project / git clone --depth ${DEPTH}`, upload, "≤ 1.2", upload <= 1.2],
    ["first result with 10,000 files at 40 ms, ms after creating alone", late, "≤ 1000", late <= 1000],
    ["requests to the first result", first.requests, "≤ 4", first.requests <= 4],
  ]
}
