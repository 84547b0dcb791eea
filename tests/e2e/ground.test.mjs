// Places that are not what they seem, with the real OpenCode: it says "no git" of some, and the home of
// others; and a project that is reached through a link.

import assert from "node:assert/strict"
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { createWorld, git, startLocal } from "../lib/world.mjs"

const files = { "a.txt": "a\n", "dir/b.txt": "b\n" }

describe("a place that is not what it seems", () => {
  let local
  before(async () => {
    local = await startLocal()
  })
  after(() => local?.stop())

  async function withWorld(options, use) {
    const world = await createWorld({ files, local, ...options })
    try {
      await use(world)
    } finally {
      await world.close()
    }
  }

  test("around worktrees nothing goes into a sandbox, and the worktrees are named", () =>
    withWorld({ scripts: { look: [{ calls: [["bash", { command: "ls -A" }]] }] } }, async (world) => {
      const place = join(world.base, "container")
      mkdirSync(place)
      git(place, "clone", "--quiet", "--bare", world.project, ".bare")
      writeFileSync(join(place, ".git"), "gitdir: ./.bare\n")
      git(place, "worktree", "add", "--quiet", "-b", "wt", "wt")
      const refs = git(place, "for-each-ref")
      const refused = await world.run("script:look", { cwd: place })
      assert.equal(refused.tools[0].status, "error", refused.tools[0].text)
      assert.match(refused.tools[0].text, /no files checked out there.*\/wt\)/s)
      assert.equal(git(place, "for-each-ref"), refs)
      const { tools } = await world.run("script:look", { cwd: join(place, "wt") })
      assert.equal(tools[0].output.trim(), ".git\na.txt\ndir")
    }))

  test("below a home that is a repository, a project is one without a repository", () =>
    withWorld({ scripts: { make: [{ calls: [["bash", { command: "ls -A; echo made >made.c" }]] }, { calls: [["sync", {}]] }] } }, async (world) => {
      git(world.home, "init", "--quiet")
      writeFileSync(join(world.home, ".gitignore"), "*\n")
      git(world.home, "add", "--force", ".gitignore")
      git(world.home, "commit", "--quiet", "--message=dotfiles")
      const project = join(world.home, "app")
      cpSync(world.project, project, { recursive: true })
      rmSync(join(project, ".git"), { recursive: true })
      const { tools, session } = await world.run("script:make", { cwd: project })
      assert.equal(tools[0].output.trim(), ".git\na.txt\ndir")
      const depot = readdirSync(world.storeDir).find((name) => name.endsWith("-plain.git"))
      const { branch } = world.store().sessions[session].home
      assert.equal(git(join(world.storeDir, depot), "show", `${branch}:made.c`), "made")
      assert.equal(git(world.home, "for-each-ref").split("\n").length, 1)
    }))

  test("through a link the project is the same", async () => {
    const scripts = {}
    await withWorld({ scripts }, async (world) => {
      const link = join(world.base, "link")
      symlinkSync("project", link)
      scripts.write = [
        { calls: [["write", { filePath: join(link, "c.txt"), content: "c\n" }]] },
        { calls: [["bash", { command: `cat ${link}/c.txt; pwd`, workdir: join(link, "dir") }]] },
      ]
      for (const cwd of [world.project, link, join(link, "dir")]) {
        const { tools, session } = await world.run("script:write", { cwd, env: { PWD: cwd } })
        assert.equal(tools[0].status, "completed", tools[0].text)
        assert.equal(tools[1].output.trim(), "c\n/home/daytona/project/dir", cwd)
        const { branch } = world.store().sessions[session].home
        assert.equal(git(world.project, "show", `${branch}:c.txt`), "c")
        assert.ok(!existsSync(join(world.project, "c.txt")))
      }
    })
  })
})
