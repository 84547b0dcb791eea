// What a large project costs: 30,000 files in a first and a second session, against doing it by hand; the
// runner's part of it alone, against `git checkout`; and, with `--large`, 2 GB of history with a file of
// 1 GB. Nothing is deleted before the end: file systems make files slowly where many have just gone.

import { execFileSync, spawn, spawnSync } from "node:child_process"
import { createCipheriv } from "node:crypto"
import { once } from "node:events"
import { copyFileSync, mkdirSync, openSync, readFileSync, readdirSync, statSync, writeFileSync, closeSync } from "node:fs"
import { join } from "node:path"
import { git } from "../lib/world.mjs"

const MB = 1_000_000

/** Bytes that nothing compresses, the same in every run. */
function noise(seed) {
  const stream = createCipheriv("aes-128-ctr", Buffer.alloc(16, seed), Buffer.alloc(16))
  return (bytes) => stream.update(Buffer.alloc(bytes))
}

/** Text that compresses as source code does, the same in every run. */
function prose() {
  const random = noise(3)
  const words = Array.from({ length: 4000 }, () => random(8).toString("hex").slice(0, 3 + (random(1)[0] % 8)))
  return (bytes) => {
    let text = ""
    for (const pick = random(bytes); text.length < bytes; ) for (let n = 0; n < bytes && text.length < bytes; n += 2) text += words[pick.readUInt16LE(n % (bytes - 1)) % 4000] + (pick[n] < 25 ? "\n" : " ")
    return text
  }
}

/** A repository with so many files of text, committed as a user does it. */
function repository(dir, files, bytes) {
  mkdirSync(dir)
  git(dir, "init", "--quiet", "--initial-branch=main")
  git(dir, "config", "gc.auto", "0")
  const text = prose()
  for (let n = 0; n < files; n++) {
    const place = join(dir, "src", `d${n % 200}`, `e${(n >> 8) % 8}`)
    mkdirSync(place, { recursive: true })
    writeFileSync(join(place, `f${n}.txt`), `file ${n}\n${text(Math.round(bytes / files))}`)
  }
  git(dir, "add", "--all")
  git(dir, "commit", "--quiet", "--message=first")
  return dir
}

const timed = (work) => {
  const start = performance.now()
  work()
  return performance.now() - start
}

/** Runs git with its output in a file. */
function gitTo(file, dir, args, input) {
  const out = openSync(file, "w")
  const result = spawnSync("git", args, { cwd: dir, input, stdio: ["pipe", out, "inherit"] })
  closeSync(out)
  if (result.status !== 0) throw new Error(`git ${args.join(" ")} ended with ${result.status}`)
}

/** Pack, copy, unpack and check out, as one would do it: milliseconds of each. */
function byHand(dir, place) {
  mkdirSync(place)
  const [packed, copied, there] = ["packed", "copied", "there"].map((name) => join(place, name))
  const packMs = timed(() => gitTo(packed, dir, ["pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset"], "HEAD\n"))
  const copyMs = timed(() => copyFileSync(packed, copied))
  mkdirSync(there)
  git(there, "init", "--quiet", "--initial-branch=main")
  const unpackMs = timed(() => {
    const result = spawnSync("git", ["index-pack", "--stdin"], { cwd: there, stdio: [openSync(copied, "r"), "ignore", "inherit"] })
    if (result.status !== 0) throw new Error("git index-pack failed")
    git(there, "update-ref", "refs/heads/main", git(dir, "rev-parse", "HEAD"))
  })
  const checkoutMs = timed(() => git(there, "checkout", "--quiet", "--force", "main"))
  return { packMs, copyMs, unpackMs, checkoutMs, ms: packMs + copyMs + unpackMs + checkoutMs, packBytes: statSync(packed).size }
}

/** The runner sets the project up, from a pack with its index; against git with the same in place. */
function unpacking(dir, place, runner) {
  mkdirSync(place)
  const hash = execFileSync("git", ["pack-objects", "--revs", "--quiet", join(place, "whole")], { cwd: dir, input: "HEAD\n", encoding: "utf8" }).trim()
  const commit = git(dir, "rev-parse", "HEAD")
  const [pack, index] = ["pack", "idx"].map((kind) => join(place, `whole-${hash}.${kind}`))
  const rounds = []
  for (let n = 0; n < 3; n++) {
    const [hand, root] = [join(place, `hand${n}`), join(place, `root${n}`)]
    mkdirSync(hand)
    git(hand, "init", "--quiet", "--initial-branch=main")
    copyFileSync(pack, join(hand, ".git/objects/pack", `pack-${hash}.pack`))
    copyFileSync(index, join(hand, ".git/objects/pack", `pack-${hash}.idx`))
    git(hand, "update-ref", "refs/heads/main", commit)
    const checkoutMs = timed(() => git(hand, "checkout", "--quiet", "--force", "main"))
    const [part, idx] = [join(place, `part${n}`), join(place, `idx${n}`)]
    copyFileSync(pack, part)
    copyFileSync(index, idx)
    const base = { whole: { parts: [part], index: idx, size: statSync(part).size }, commit, branch: "main" }
    const request = { protocol: 3, id: `large${process.pid}x${n}`, op: "setup", root, base, sandbox: `bench-${n}` }
    const env = { PATH: process.env.PATH, HOME: place, OPENCODE_RUNNER_REQUEST_0: JSON.stringify(request) }
    let out
    const ms = timed(() => (out = spawnSync(runner, [], { cwd: place, env, encoding: "utf8" }).stdout))
    if (!out.includes(commit)) throw new Error(`the runner did not set up: ${out}`)
    if (execFileSync("git", ["-c", "safe.directory=*", "diff-files", "--raw"], { cwd: root, encoding: "utf8" }) !== "") throw new Error("the index is not right at once")
    rounds.push({ ms, checkoutMs, ratio: ms / checkoutMs })
  }
  return rounds.toSorted((a, b) => a.ratio - b.ratio)[1]
}

/** Runs orders in OpenCode's Bun; gives what they print, and the peak of its memory and of its gits'. */
async function watched(command, args, options) {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "inherit"] })
  let out = ""
  child.stdout.on("data", (data) => (out += data))
  let peak = 0
  const look = () => {
    const processes = execFileSync("ps", ["-eo", "pid,ppid,rss"], { encoding: "utf8" }).trim().split("\n").slice(1).map((line) => line.trim().split(/\s+/).map(Number))
    const ours = new Set([child.pid])
    for (const _ of [1, 2, 3]) for (const [pid, parent] of processes) if (ours.has(parent)) ours.add(pid)
    peak = Math.max(peak, processes.filter(([pid]) => ours.has(pid)).reduce((sum, [, , rss]) => sum + rss * 1024, 0))
  }
  const timer = setInterval(look, 200)
  const [code] = await once(child, "close")
  clearInterval(timer)
  if (code !== 0) throw new Error(`it ended with ${code}`)
  return { ...JSON.parse(out.trim().split("\n").at(-1)), peakBytes: peak }
}

/** 2 GB of history, 100,000 files, one file of 1 GB. */
function huge(dir) {
  repository(dir, 100_000, 300 * MB)
  const random = noise(11)
  const large = openSync(join(dir, "large.bin"), "w")
  for (let n = 0; n < 100; n++) writeFileSync(large, random(10 * MB))
  closeSync(large)
  for (let n = 0; n < 20; n++) {
    writeFileSync(join(dir, "assets.bin"), random(50 * MB))
    git(dir, "add", "--all")
    git(dir, "commit", "--quiet", `--message=commit ${n}`)
  }
  return dir
}

/** Measures. `command` gives program, arguments and options that run orders in OpenCode's Bun. */
export async function large({ base, local, command, orders, runner, isWhole }) {
  const place = join(base, "large")
  mkdirSync(place)
  const run = async (directory, session, options) => {
    await local.latency(0)
    return watched(...command({ ...orders, kind: "first", directory, worktree: directory, project: directory, session, options: { ...orders.options, prewarm: false, ...options } }))
  }
  const create = async () => {
    const start = performance.now()
    await local.api("POST", "/sandbox", {})
    return performance.now() - start
  }
  console.log("  30,000 files …")
  const dir = repository(join(place, "files"), 30_000, 165 * MB)
  const createMs = await create()
  const hand = byHand(dir, join(place, "hand"))
  const first = await run(dir, "ses_large1")
  const second = await run(dir, "ses_large2")
  const beside = ({ ms, ...rest }) => ({ ms: ms - createMs, ...rest })
  const figures = { files: 30_000, createMs, byHand: hand, first: beside(first), second: beside(second), unpacking: unpacking(dir, join(place, "unpacking"), runner) }
  if (!isWhole) return figures
  console.log("  2 GB of history, a file of 1 GB …")
  const deep = huge(join(place, "deep"))
  const bundle = join(place, "bundle")
  const bundleMs = timed(() => git(deep, "bundle", "create", "--quiet", bundle, "HEAD"))
  const deepFirst = await run(deep, "ses_deep1", { carry: { maxMegabytes: 4000 }, snapshot: "daytona-large" })
  const deepSecond = await run(deep, "ses_deep2", { carry: { maxMegabytes: 4000 }, snapshot: "daytona-large" })
  const mirror = join(place, "mirror")
  const rsync = spawnSync("rsync", ["--version"]).status === 0 ? timed(() => execFileSync("rsync", ["-a", `${deep}/`, mirror])) : null
  const historyBytes = readdirSync(join(deep, ".git/objects"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
  return { ...figures, deep: { historyBytes, bundleMs, bundleBytes: statSync(bundle).size, rsyncMs: rsync, first: beside(deepFirst), second: beside(deepSecond) } }
}

/** The figures as rows: name, value, limit in words, whether it holds. */
export function largeRows({ first, second, byHand: hand, unpacking, deep }) {
  const rows = [
    ["30,000 files, first session / by hand", first.ms / hand.ms, "≤ 1.5", first.ms <= 1.5 * hand.ms],
    ["30,000 files, second session / first", second.ms / first.ms, "≤ 0.15", second.ms <= 0.15 * first.ms],
    ["unpacking 30,000 files / git checkout", unpacking.ratio, "≤ 1.3", unpacking.ratio <= 1.3],
    ["peak memory, 30,000 files, MB", first.peakBytes / MB, "≤ 300", first.peakBytes <= 300 * MB],
  ]
  if (deep) rows.push(["peak memory, 2 GB of history, MB", deep.first.peakBytes / MB, "≤ 300", deep.first.peakBytes <= 300 * MB])
  return rows
}
