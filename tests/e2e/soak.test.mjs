// A short soak; `npm run soak` is the long one.

import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { git } from "../lib/world.mjs"
import { snapshot } from "../repositories/build.mjs"
import { changes, missing, strays, temporary, unsettled, unsound } from "../soak/home.mjs"
import { soak } from "../soak/soak.mjs"
import { plan } from "../soak/plan.mjs"

const sizes = { seed: 1, turns: 30, sessions: 4, processes: 2, faults: 5, killEvery: 10, repositories: 2, large: 1, megabytes: 20 }

test("after thirty turns with faults and kills, all that was promised is home and nothing else changed", async (t) => {
  const result = await soak({ ...sizes, say: (line) => t.diagnostic(line) })
  assert.deepEqual(Object.entries(result.complaints).filter(([, complaints]) => complaints.length), [])
  assert.equal(result.kills, 5)
  assert.deepEqual(result.aimed, { packing: 1, upload: 1 })
  assert.ok(result.left > 0, "a kill during packing left nothing to be swept")
  assert.ok(result.promises > 20, `only ${result.promises} promises`)
})

test("a seed gives the same plan again, and another seed another one", () => {
  assert.deepEqual(plan(sizes), plan(sizes))
  assert.notDeepEqual(plan(sizes), plan({ ...sizes, seed: 2 }))
})

test("what is lost, left over, unfinished or changed is noticed", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "soak-test-"))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  git(dir, "init", "--quiet", "--initial-branch=main")
  writeFileSync(join(dir, "kept"), "kept\n")
  git(dir, "add", "--all")
  git(dir, "commit", "--quiet", "--message=first")
  assert.deepEqual(missing(dir, [{ content: "kept\n" }, { content: "lost\n" }]), [{ content: "lost\n" }])

  const state = () => snapshot(dir, { root: dir, top: dir })
  const before = state()
  git(dir, "branch", "opencode/1")
  assert.deepEqual(changes(before, state()), [])
  writeFileSync(join(dir, "kept"), "changed\n")
  git(dir, "branch", "other")
  assert.deepEqual(changes(before, state()).map((line) => line.split(" ")[2]), ["files", "status", "refs"])

  const store = { sessions: { a: { sandboxId: "1", unsynced: {} }, b: { sandboxId: "2", deleted: true } }, creating: [{ name: "n" }], cleanup: [{ sandbox: "x", late: true }, { sandbox: "y" }] }
  assert.equal(unsettled(store, []).length, 4)
  assert.equal(unsettled(store, [{ id: "x" }]).length, 5)
  assert.deepEqual(strays(store, [{ id: "2", name: "two" }, { id: "3", name: "three" }]), ["sandbox three (3) belongs to no session", "sandbox 1 is in the store and nowhere else"])
})

test("a temporary directory, and a kept pack that is not whole or was never finished, are noticed", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "soak-test-"))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  assert.deepEqual([temporary(dir), unsound(dir)], [[], []])
  const [one, other] = ["opencode-daytona-a-host-12-0f", "opencode-daytona-a-host-13-0f"].map((name) => join(dir, "temporary", name))
  for (const path of [one, other]) mkdirSync(path, { recursive: true })
  assert.deepEqual(temporary(dir).sort(), [one, other])
  assert.deepEqual(temporary(dir, 13), [other])

  const packs = join(dir, "x-packs")
  mkdirSync(packs)
  git(packs, "init", "--quiet")
  git(packs, "commit", "--quiet", "--allow-empty", "--message=first")
  git(packs, "repack", "--quiet", "-a", "-d")
  const made = join(packs, ".git/objects/pack")
  for (const kind of ["pack", "idx"]) renameSync(join(made, readdirSync(made).find((name) => name.endsWith(kind))), join(packs, `1.${kind}`))
  rmSync(join(packs, ".git"), { recursive: true })
  const hours = (n) => Date.now() + n * 3_600_000
  assert.deepEqual([unsound(dir, hours(23)), unsound(dir, hours(25)).length], [[], 2])
  writeFileSync(join(packs, "1.base"), "")
  assert.deepEqual(unsound(dir, hours(25)), [])
  writeFileSync(join(packs, "2.new"), "")
  assert.deepEqual(unsound(dir, hours(23)), [])
  utimesSync(join(packs, "2.new"), new Date(hours(-25)), new Date(hours(-25)))
  assert.match(unsound(dir).join(), /2\.new was never finished, and is kept for 25 hours$/)
  rmSync(join(packs, "2.new"))
  rmSync(join(packs, "1.idx"))
  assert.match(unsound(dir).join(), /1\.base describes a pack that is not whole/)
})
