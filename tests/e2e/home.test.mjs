// The work comes home, seen from the user's repository, with the real OpenCode: at idle, by the
// tool, at the end of the process, before a deletion; and undo, redo and forks.

import assert from "node:assert/strict"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { openTerminal } from "../lib/terminal.mjs"
import { createWorld, eventually, git, visit } from "../lib/world.mjs"

const bash = (command) => [{ calls: [["bash", { command }]] }]

const scripts = {
  edit: [{ calls: [["edit", { filePath: "a.txt", oldString: "alpha", newString: "ALPHA" }]] }],
  second: [{ calls: [["write", { filePath: "b.txt", content: "second\n" }]] }],
  look: bash("cat a.txt; cat b.txt 2>/dev/null || echo none"),
  commit: bash("echo own > own.txt; git add own.txt; git commit -qm 'Add own.txt'; git log --format=%s"),
  tool: [{ calls: [["write", { filePath: "t.txt", content: "tool\n" }]] }, { calls: [["sync", { message: "Add t.txt" }]] }],
  serve: [{ calls: [["bash", { command: "exec python3 -m http.server 4321", background: true }]] }, { calls: [["preview", { port: 4321 }]] }],
  child: bash("echo child > child.txt"),
  parent: [{ calls: [["task", { description: "work", prompt: "script:child", subagent_type: "general" }]] }],
}

const files = { "a.txt": "alpha\n", ".gitignore": "ignored\n" }

/** What the branch of a session has of a file; undefined if it does not. */
function at(world, session, file) {
  const home = world.store()?.sessions[session]?.home
  if (!home) return
  try {
    return git(world.project, "show", `${home.branch}:${file}`)
  } catch {}
}

const atHome = (world, session) =>
  eventually("the work is home", () => {
    const entry = world.store()?.sessions[session]
    return entry?.home && !entry.unsynced
  })

describe("the work comes home", () => {
  let world, opencode, status

  before(async () => {
    world = await createWorld({ scripts, files })
    writeFileSync(join(world.project, "a.txt"), "alpha\nnot committed\n")
    status = git(world.project, "status", "--porcelain", "--branch")
    opencode = await world.serve()
  })
  after(() => world?.close())

  test("an edit is on a branch once the session is idle, and nothing of the user's has moved", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:edit please")
    await eventually("the branch has it", () => at(world, session, "a.txt") === "ALPHA\nnot committed")
    const { branch } = world.store().sessions[session].home
    assert.match(branch, /^opencode\/\d+$/)
    const message = git(world.project, "log", "-1", "--format=%B", branch)
    assert.match(message, /^OpenCode: script:edit please\n\n/)
    assert.match(message, new RegExp(`Session: ${session}\nTurn: msg_`))
    assert.deepEqual(git(world.project, "log", "--format=%s", branch).split("\n").slice(1), ["Project as it was on the host", "first"])
    assert.equal(git(world.project, "status", "--porcelain", "--branch"), status)
    assert.equal(readFileSync(join(world.project, "a.txt"), "utf8"), "alpha\nnot committed\n")
    git(world.project, "fsck", "--strict")
  })

  test("undo and redo are followed by the sandbox and by the branch", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:edit")
    await opencode.prompt(session, "script:second")
    await eventually("both are home", () => at(world, session, "b.txt") === "second")
    const messages = await opencode.request("GET", `/session/${session}/message`)
    const turns = messages.filter(({ info }) => info.role === "user").map(({ info }) => info.id)
    await opencode.request("POST", `/session/${session}/revert`, { messageID: turns[1] })
    await eventually("the second is undone", () => at(world, session, "b.txt") === undefined)
    assert.equal(at(world, session, "a.txt"), "ALPHA\nnot committed")
    await opencode.request("POST", `/session/${session}/revert`, { messageID: turns[0] })
    await eventually("the first is undone", () => at(world, session, "a.txt") === "alpha\nnot committed")
    await opencode.request("POST", `/session/${session}/unrevert`)
    await eventually("both are back", () => at(world, session, "b.txt") === "second" && at(world, session, "a.txt") === "ALPHA\nnot committed")
    await opencode.request("POST", `/session/${session}/revert`, { messageID: turns[1] })
    await opencode.prompt(session, "script:look")
    const after = await opencode.request("GET", `/session/${session}/message`)
    const look = after.flatMap(({ parts }) => parts).findLast((part) => part.tool === "bash")
    assert.equal(look.state.output, "ALPHA\nnot committed\nnone\n", "the user went on from an undo")
    await eventually("the branch has that", () => at(world, session, "b.txt") === undefined)
    assert.equal(git(world.project, "status", "--porcelain", "--branch"), status)
  })

  test("a fork has a sandbox of its own, with the state of that moment", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:edit")
    await opencode.prompt(session, "script:second")
    const messages = await opencode.request("GET", `/session/${session}/message`)
    const second = messages.filter(({ info }) => info.role === "user")[1].info.id
    const early = await opencode.request("POST", `/session/${session}/fork`, { messageID: second })
    const late = await opencode.request("POST", `/session/${session}/fork`, {})
    const [ofEarly] = await opencode.prompt(early.id, "script:look")
    assert.equal(ofEarly.output, "ALPHA\nnot committed\nnone\n")
    const [ofLate] = await opencode.prompt(late.id, "script:look")
    assert.equal(ofLate.output, "ALPHA\nnot committed\nsecond\n")
    const { sessions } = world.store()
    const ids = [session, early.id, late.id].map((id) => sessions[id].sandboxId)
    assert.equal(new Set(ids).size, 3)
  })

  test("the agent's own commits and a subagent's files arrive", async () => {
    const session = await opencode.session()
    const [commit] = await opencode.prompt(session, "script:commit")
    assert.equal(commit.output, "Add own.txt\nProject as it was on the host\nfirst\n")
    await opencode.prompt(session, "script:parent")
    await eventually("the child's file is home", () => at(world, session, "child.txt") === "child")
    const { branch } = world.store().sessions[session].home
    assert.match(git(world.project, "log", "--format=%s", branch), /^Add own.txt$/m)
  })

  test("what the user's own !command made comes home, and is undone with its message", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:second")
    await opencode.request("POST", `/session/${session}/shell`, { agent: "build", command: "echo typed > typed.txt" })
    await eventually("it is home", () => at(world, session, "typed.txt") === "typed")
    const messages = await opencode.request("GET", `/session/${session}/message`)
    const typed = messages.filter(({ info }) => info.role === "user").at(-1).info.id
    await opencode.request("POST", `/session/${session}/revert`, { messageID: typed })
    await eventually("it is undone", () => at(world, session, "typed.txt") === undefined)
    assert.equal(at(world, session, "b.txt"), "second")
  })

  test("the tool returns when the commits are there, and names them", async () => {
    const session = await opencode.session()
    const [, sync] = await opencode.prompt(session, "script:tool")
    assert.equal(sync.status, "completed", sync.error)
    assert.deepEqual(sync.metadata.files, ["t.txt"])
    assert.match(sync.output, new RegExp(`branch ${sync.metadata.branch}, commit ${sync.metadata.commit}`))
    assert.equal(git(world.project, "log", "-1", "--format=%s", sync.metadata.commit), "Add t.txt")
  })

  test("a preview is a link that works outside of the sandbox", async () => {
    const session = await opencode.session()
    const [, preview] = await opencode.prompt(session, "script:serve")
    assert.equal(preview.status, "completed", preview.error)
    assert.ok(preview.output.startsWith(`${preview.metadata.url}\n`), preview.output)
    const { status, text } = await visit(preview.metadata.url)
    assert.equal(status, 200)
    assert.match(text, /Directory listing[^]*a\.txt/)
  })

  test("a deleted session's work is home before its sandbox goes", async () => {
    const session = await opencode.session()
    await opencode.prompt(session, "script:second")
    const { branchNumber } = world.store().sessions[session]
    await opencode.request("DELETE", `/session/${session}`)
    await eventually("its entry is gone", () => !world.store().sessions[session])
    assert.equal(git(world.project, "show", `opencode/${branchNumber}:b.txt`), "second")
  })
})

test("a session deleted while Daytona is away keeps its sandbox, and the next start brings its work home", async () => {
  const world = await createWorld({ scripts, files })
  try {
    const first = await world.serve()
    const session = await first.session()
    // The first call makes the sandbox; from then on nothing answers.
    await first.prompt(session, "script:look")
    await eventually("that turn is over", () => !world.store().sessions[session].unsynced)
    world.model.scripts.gone = async (_, done) => {
      if (done === 0) return { calls: [["write", { filePath: "b.txt", content: "second\n" }]] }
      await world.local.fault(undefined, "*", { kind: "status", status: 401 }, { times: -1 })
      return {}
    }
    await first.prompt(session, "script:gone")
    await first.request("DELETE", `/session/${session}`)
    await eventually("the store says why", () => world.store().sessions[session]?.deleted && world.store().sessions[session]?.error)
    await first.stop("SIGKILL")
    await world.local.heal()
    assert.equal((await world.local.sandboxes()).length, 1)
    const { branchNumber } = world.store().sessions[session]
    const second = await world.serve()
    await second.session()
    await eventually("the sandbox is gone", async () => (await world.local.sandboxes()).length === 0)
    assert.equal(git(world.project, "show", `opencode/${branchNumber}:b.txt`), "second")
    await eventually("the entry is gone", () => Object.keys(world.store().sessions).length === 0)
  } finally {
    await world.close()
  }
})

test("`opencode run` ends with the work at home, also in a project without git", async () => {
  for (const withGit of [true, false]) {
    const world = await createWorld({ scripts, files, git: withGit })
    try {
      const { session, tools } = await world.run("script:second")
      assert.equal(tools[0].status, "completed", tools[0].text)
      const entry = world.store().sessions[session]
      assert.equal(entry.unsynced, undefined, JSON.stringify(entry))
      if (withGit) assert.equal(git(world.project, "show", `${entry.home.branch}:b.txt`), "second")
      else {
        const depot = readdirSync(world.storeDir).find((name) => name.endsWith(".git"))
        assert.equal(git(join(world.storeDir, depot), "show", `${entry.home.branch}:b.txt`), "second")
        assert.ok(!existsSync(join(world.project, "b.txt")))
      }
    } finally {
      await world.close()
    }
  }
})

test("a sync while the project travels, or after it did not fit, takes nothing that is half made", async (t) => {
  const many = Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`many/${n % 50}/${n}.txt`, `${n}\n`]))
  // OpenCode asks before it makes the same call three times.
  const syncs = (turn) => ({ calls: [1, 2, 3].map((n) => ["sync", { message: `${turn} ${n}` }]) })
  const first = [syncs("a"), syncs("b"), { calls: [["bash", { command: "find many -type f | wc -l" }]] }, syncs("c")]
  const world = await createWorld({ scripts: { first }, files: { ...many, "large.txt": "all work and no play\n".repeat(500_000) } })
  t.after(() => world.close())
  const branches = () => git(world.project, "for-each-ref", "refs/heads/opencode")
  for (const snapshot of ["test-small-disk", undefined]) {
    const { tools } = await world.run("script:first", { env: snapshot ? { DAYTONA_SNAPSHOT: snapshot } : {} })
    const [bash] = tools.filter(({ tool }) => tool === "bash")
    if (snapshot) assert.match(bash.error ?? JSON.stringify(bash), /does not fit on the sandbox's disk/)
    else assert.equal(bash.output.trim(), "2000")
    const synced = tools.filter(({ tool }) => tool === "sync")
    assert.equal(synced.length, 9)
    for (const { output, error } of synced) assert.match(output ?? error, snapshot ? /does not fit|^Nothing was changed/ : /^Nothing was changed/)
    assert.equal(branches(), "")
  }
})

test("with `sync: apply` the change is in the working tree, unless something is in its way", async () => {
  const world = await createWorld({ scripts, files, options: { sync: "apply" } })
  try {
    const opencode = await world.serve()
    const session = await opencode.session()
    await opencode.prompt(session, "script:second")
    await eventually("it is applied", () => existsSync(join(world.project, "b.txt")))
    assert.equal(git(world.project, "diff", "--cached", "--name-only"), "")
    writeFileSync(join(world.project, "a.txt"), "mine\n")
    await opencode.prompt(session, "script:edit")
    await eventually("it is home", () => at(world, session, "a.txt") === "ALPHA")
    await atHome(world, session)
    assert.equal(readFileSync(join(world.project, "a.txt"), "utf8"), "mine\n")
  } finally {
    await world.close()
  }
})

for (const name of ["GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_WORK_TREE"]) {
  test(`an exported ${name} of another repository changes nothing: files go out of the project and work comes home into it`, async () => {
    const world = await createWorld({ files: { "own.txt": "own\n" }, scripts: { work: [{ calls: [["bash", { command: "ls; echo made > made.txt" }]] }, { calls: [["sync", {}]] }] } })
    try {
      const other = join(world.base, "other")
      mkdirSync(other)
      git(other, "init", "--quiet", "--initial-branch=main")
      writeFileSync(join(other, "other.txt"), "other\n")
      git(other, "add", "--all")
      git(other, "commit", "--quiet", "--message=other")
      const state = () => git(other, "for-each-ref") + git(other, "count-objects") + git(other, "status", "--porcelain")
      const before = state()
      const value = { GIT_DIR: ".git", GIT_INDEX_FILE: ".git/index", GIT_OBJECT_DIRECTORY: ".git/objects", GIT_WORK_TREE: "." }[name]
      const { tools } = await world.run("script:work", { env: { [name]: join(other, value) } })
      const [bash, sync] = tools
      assert.equal(bash.output, "own.txt\n", bash.error)
      assert.match(sync.output, /branch opencode\/1,/, sync.error)
      assert.equal(git(world.project, "show", "opencode/1:made.txt"), "made")
      assert.equal(state(), before, "the other repository was changed")
    } finally {
      await world.close()
    }
  })
}

test("a project that was renamed while its work was away gets it at the next start", async () => {
  const world = await createWorld({ files, scripts })
  try {
    const opencode = await world.serve()
    const session = await opencode.session()
    await world.local.fault("POST", "/toolbox/*/process/execute", { kind: "slow", ms: 60_000 }, { times: 1, skip: 2 })
    await opencode.prompt(session, "script:edit")
    await opencode.stop("SIGKILL")
    assert.ok(world.store().sessions[session].unsynced)
    await world.local.heal()
    const project = `${world.project}-renamed`
    renameSync(world.project, project)
    const next = await world.serve({ cwd: project })
    await next.session()
    const { home, worktree } = await eventually("the work is home", () => {
      const entry = world.store().sessions[session]
      return entry.home && !entry.unsynced && entry
    })
    assert.equal(worktree, project)
    assert.equal(git(project, "show", `${home.branch}:a.txt`), "ALPHA")
  } finally {
    await world.close()
  }
})

describe("Ctrl-C in the terminal UI while work travels", () => {
  const leaving = /Bringing the work home from the sandbox …; press Ctrl-C again to leave it for the next start\./
  for (const [name, again] of [
    ["is answered by one line, and the work is home at the end", false],
    ["is answered by one line; a second one ends it at once, and the next start brings the work home", true],
  ]) {
    test(name, async () => {
      const world = await createWorld({ files, scripts: { "*": [{ calls: [["bash", { command: "echo x > made.txt" }]] }, { text: "All of it is done." }] } })
      const terminal = openTerminal(world)
      try {
        await terminal.type("do it")
        // From now on the way home takes long, and no other way is asked for.
        await world.local.fault("POST", "/toolbox/*/process/execute", { kind: "slow", ms: again ? 60_000 : 3_000 }, { times: 1, skip: 2 })
        terminal.keys("Enter")
        await terminal.shows(/All of it is done/)
        terminal.keys("C-c")
        await terminal.shows(leaving)
        const session = Object.keys(world.store().sessions)[0]
        assert.ok(world.store().sessions[session].unsynced, "it is on its way")
        if (again) terminal.keys("C-c")
        await terminal.shows(/ended with \d+/)
        assert.equal(terminal.screen().match(/Bringing the work home/g).length, 1, terminal.screen())
        if (again) {
          assert.ok(world.store().sessions[session].unsynced, "nobody waited for it")
          await world.local.heal()
          const next = await world.serve()
          await next.session()
          await atHome(world, session)
          await next.stop()
        }
        assert.equal(at(world, session, "made.txt"), "x")
      } finally {
        terminal.close()
        await world.close()
      }
    })
  }
})
