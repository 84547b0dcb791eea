// The project as it is on the host is in the sandbox, whatever kind of directory it is.

import assert from "node:assert/strict"
import { mkdirSync, rmSync, symlinkSync, chmodSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { createWorld, git, startLocal } from "../lib/world.mjs"

const list = "find . -path ./.git -prune -o \\( -type f -o -type l \\) -printf '%M %P %l\\n' | sort -k2; git status --porcelain; git log --format=%s; git rev-parse --abbrev-ref HEAD; git rev-parse refs/opencode/base"
const snapshot = "Project as it was on the host"
const files = { "a.txt": "a\n", "dir/b.txt": "b\n", ".gitignore": "ignored\nbuild/\n", ignored: "x\n", "build/c": "c\n" }

/** Each case makes the project's directory what its name says. */
const cases = [
  { name: "a clean checkout", make: () => {}, branch: "main", log: ["first"] },
  { name: "a clean checkout, without history", make: () => {}, branch: "main", log: ["first"], options: { history: 0 } },
  {
    name: "uncommitted edits, untracked and deleted files, modes and links",
    make(project) {
      writeFileSync(join(project, "a.txt"), "edited\n")
      writeFileSync(join(project, "new file.txt"), "new\n")
      rmSync(join(project, "dir/b.txt"))
      writeFileSync(join(project, "run.sh"), "#!/bin/sh\n")
      chmodSync(join(project, "run.sh"), 0o755)
      symlinkSync("a.txt", join(project, "link"))
    },
    branch: "main",
    log: [snapshot, "first"],
    expected: ["-rw-r--r-- .gitignore ", "-rw-r--r-- a.txt ", "lrwxrwxrwx link a.txt", "-rw-r--r-- new file.txt ", "-rwxr-xr-x run.sh "],
  },
  { name: "a detached HEAD", make: (project) => git(project, "checkout", "--quiet", "--detach"), branch: "main", log: ["first"] },
  {
    name: "a shallow clone",
    make(project) {
      writeFileSync(join(project, "a.txt"), "second\n")
      git(project, "commit", "--quiet", "--all", "--message=second")
      const clone = `${project}-clone`
      git(project, "clone", "--quiet", "--depth=1", `file://${project}`, clone)
      return clone
    },
    branch: "main",
    log: ["second"],
  },
  { name: "a repository without commits", commit: false, make: () => {}, branch: "main" },
  { name: "a directory without git", git: false, make: () => {}, branch: "main" },
  {
    name: "a subdirectory of a repository",
    make: (project) => join(project, "dir"),
    branch: "main",
    log: ["first"],
    cwd: "/home/daytona/project/dir",
    expected: ["-rw-r--r-- b.txt "],
  },
]

describe("the project is in the sandbox:", () => {
  let local
  before(async () => {
    local = await startLocal()
  })
  after(() => local?.stop())

  for (const { name, make, commit = true, git: withGit = true, branch, log = [snapshot], options, cwd = "/home/daytona/project", expected } of cases) {
    test(name, async () => {
      const world = await createWorld({ files: commit ? files : {}, git: withGit, local, options, scripts: { list: [{ calls: [["bash", { command: `pwd; ${list}` }]] }] } })
      try {
        if (!commit) {
          for (const [path, content] of Object.entries(files)) {
            mkdirSync(join(world.project, path, ".."), { recursive: true })
            writeFileSync(join(world.project, path), content)
          }
        }
        const project = make(world.project) || world.project
        const before = withGit ? git(project, "status", "--porcelain", "--ignored") + git(project, "count-objects") + git(project, "for-each-ref") : ""
        const { tools, stderr } = await world.run("script:list", { cwd: project })
        assert.equal(tools.length, 1, stderr)
        assert.equal(tools[0].status, "completed", tools[0].error)
        const lines = tools[0].output.trimEnd().split("\n")
        const listed = expected ?? ["-rw-r--r-- .gitignore ", "-rw-r--r-- a.txt ", "-rw-r--r-- dir/b.txt "]
        assert.deepEqual(lines.slice(0, -1), [cwd, ...listed, ...log, branch])
        assert.match(lines.at(-1), /^[0-9a-f]{40}$/, "the base commit is known")
        const entry = Object.values(world.store().sessions)[0]
        assert.equal(entry.baseCommit, lines.at(-1))
        if (withGit) {
          const after = git(project, "status", "--porcelain", "--ignored") + git(project, "count-objects") + git(project, "for-each-ref")
          assert.equal(after, before, "the user's repository was changed")
        }
      } finally {
        await world.close()
      }
    })
  }
})
