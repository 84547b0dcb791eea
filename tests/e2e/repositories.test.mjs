// The table of repositories through the real OpenCode: what goes in is the user's project, what comes home
// is what the agent made of it, and nothing of the user's own has changed.

import assert from "node:assert/strict"
import { readdirSync, readFileSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { createWorld, eventually, root as checkout } from "../lib/world.mjs"
import { build, committed, prepareUser, shell, snapshot, userGit } from "../repositories/build.mjs"
import { kinds } from "../repositories/kinds.mjs"

/** How many repositories are worked in at once. */
const WIDTH = 2

/** What the model is told beside the output. */
const REMINDER = /\n\n<system-reminder>[^]*<\/system-reminder>$/

const matches = (text, wanted, what) => (wanted instanceof RegExp ? assert.match(text, wanted, what) : assert.equal(text, wanted, what))

describe("repositories as people have them", { concurrency: WIDTH }, () => {
  let world, opencode

  before(async () => {
    world = await createWorld({ git: false })
    prepareUser(world.home)
    opencode = await world.serve()
  })
  after(() => world?.close({ keep: Boolean(process.env.KEEP) }))

  /** What the store has of a session. */
  function entryOf(session) {
    for (const name of readdirSync(world.storeDir).filter((name) => name.endsWith(".json"))) {
      const entry = JSON.parse(readFileSync(join(world.storeDir, name), "utf8")).sessions[session]
      if (entry) return { entry, depot: name.replace(/\.json$/, "") }
    }
    return {}
  }

  /** Git where the branches of a project are: in the repository, or beside the store if there is none. */
  function branches(kind, place, depot) {
    const dir = place.top && !kind.plain ? place.top : join(world.storeDir, readdirSync(world.storeDir).find((name) => name.startsWith(`${depot}-`) && name.endsWith("-plain.git")))
    return (...args) => userGit(world.home, dir, ...args)
  }

  kinds.forEach((kind, number) =>
    test(kind.name, async (t) => {
      const base = join(world.base, `r${number}`)
      mkdirSync(base)
      const place = build(kind, base, world.home, number)
      const mine = snapshot(world.home, place)
      world.model.scripts[`r${number}`] = [{ calls: [["bash", { command: kind.look }]] }, { calls: [["bash", { command: kind.work }]] }, { calls: [["sync", {}]] }]
      const there = opencode.at(place.dir)
      const session = await there.session()
      const [look, work, sync] = await there.prompt(session, `script:r${number}`)

      if (kind.refused) {
        await t.test("is refused in a sentence, and nothing is made", () => {
          for (const result of [look, work, sync]) assert.match(result.error ?? `not refused: ${result.output}`, kind.refused)
          assert.deepEqual(snapshot(world.home, place), mine)
        })
        return
      }
      await t.test("in: the sandbox has the project", () => matches(look.text.replace(REMINDER, ""), kind.shows, JSON.stringify(look)))
      await t.test("home: the branch has what the agent made of it, and no more", async () => {
        assert.equal(work.status, "completed", work.text)
        if (kind.says) matches(work.text, kind.says)
        if (kind.notHome) return assert.match(sync.error ?? `it is home: ${sync.output}`, kind.notHome)
        const { entry, depot } = await eventually("the work is home", () => {
          const found = entryOf(session)
          return found.entry?.home && (kind.left || !found.entry.unsynced) && found
        }, 20).catch((error) => assert.fail(`${error.message}: ${sync.text}`))
        const git = branches(kind, place, depot)
        const { branch } = entry.home
        const changed = git("diff", "--name-only", "--no-renames", "-z", entry.baseCommit, branch).split("\0").filter(Boolean)
        assert.deepEqual(changed.sort(), [...kind.changed].sort())
        for (const [at, content] of Object.entries({ "BRANCH:made.txt": "made\n", ...kind.holds })) assert.equal(git("show", at.replace("BRANCH", branch)), content, at)
        for (const [path, content] of Object.entries(kind.has ?? {})) assert.equal(readFileSync(join(place.root, path), "utf8"), content, path)
        for (const left of kind.left ?? []) assert.match(sync.text, left)
        if (kind.tree !== false) assert.equal(git("rev-parse", `${entry.baseCommit}^{tree}`).trim(), committed(world.home, place).tree, "what went in is what a commit of everything would hold")
      })
      await t.test("nothing of the user's own has changed", () => assert.deepEqual(snapshot(world.home, place), mine))
      if (kind.notHome || kind.left) return
      await t.test("the command that sync names puts it into the working tree", () => {
        const [, command] = sync.text.match(/into the working tree with: (.*)/) ?? assert.fail(sync.text)
        const root = kind.plain ? place.dir : place.root
        shell(world.home, root, command)
        assert.equal(readFileSync(join(root, "made.txt"), "utf8").replace("\r", ""), "made\n")
        if (kind.changed.includes("a.txt")) assert.match(readFileSync(join(root, "a.txt"), "utf8"), /(agent|both)\r?\n$/)
      })
    }),
  )
})

test("README's table names what is shown here, and each of its rows is shown", () => {
  const readme = readFileSync(join(checkout, "README.md"), "utf8")
  const table = readme.split("| your project | in the sandbox |\n| --- | --- |\n")[1].split("\n\n")[0]
  const rows = table.split("\n").map((line) => line.split(" | ")[0].replace(/^\| /, ""))
  const shown = kinds.map((kind) => kind.readme).filter(Boolean)
  assert.deepEqual([...new Set(shown)].sort(), rows.sort())
})
