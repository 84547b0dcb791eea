// A prepared snapshot: made by the packed command, started from by sessions of the real OpenCode.

import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { createWorld, eventually, git, packedPackage, root } from "../lib/world.mjs"

const LARGE = 3_000_000
const UPLOAD = "POST /toolbox/{sandboxId}/files/bulk-upload"
const runner = statSync(join(root, "plugin-shim/dist/runners/runner-x86_64.gz")).size
const files = () => ({ "a.txt": "a\n", "large.bin": randomBytes(LARGE), ".gitignore": "node_modules\n" })
const install = "mkdir node_modules && echo installed > node_modules/dep && echo hello from inside"
const look = [{ calls: [["bash", { command: "cat node_modules/dep; wc -c < large.bin; git status --porcelain; git log --format=%s" }]] }]

/** Starts the program as `npx` would; `said()` is what it has printed so far, `ended` how it ends. */
function start(world, args) {
  const child = spawn(process.execPath, [join(packedPackage(), "dist/cli.js"), "snapshot", ...args], { cwd: world.project, env: world.environment })
  let said = ""
  const hear = (data) => (said += data)
  child.stdout.on("data", hear)
  child.stderr.on("data", hear)
  const ended = new Promise((done) => child.once("close", (code, signal) => done({ code, signal, said })))
  return { child, said: () => said, ended }
}

/** Makes a snapshot, which succeeds. */
async function create(world, ...args) {
  const { code, said } = await start(world, ["create", ...args]).ended
  assert.equal(code, 0, said)
  assert.ok(!said.includes(world.local.apiKey), "a key was printed")
  assert.deepEqual(await builders(world), [], said)
  return said
}

/** Sandboxes that a snapshot was made of, and that are still there. */
async function builders(world) {
  const all = await world.local.sandboxes()
  return all.filter((sandbox) => sandbox.labels["opencode.snapshot"]).map((sandbox) => sandbox.name)
}

/** Bytes that one session sent, and what its tool said. */
async function session(world) {
  await world.local.reset()
  const { tools, stderr } = await world.run("script:look")
  assert.equal(tools[0]?.status, "completed", tools[0]?.error ?? stderr)
  const { counts, bytes } = await world.local.requests()
  return { output: tools[0].output, sent: bytes[UPLOAD].in, uploads: counts[UPLOAD] }
}

test("a session after `snapshot create` has what was installed, is sent only the difference, and hears when it is too large", async () => {
  const world = await createWorld({ files: files(), scripts: { look } })
  try {
    const said = await create(world, "web", "--run", install)
    for (const part of ["3.0 MB were carried", "hello from inside", "ended well", "The snapshot web is there", '"snapshot": "web"']) assert.ok(said.includes(part), said)
    const first = await session(world)
    assert.equal(first.output, `installed\n${LARGE}\nfirst\n`)
    assert.equal(first.uploads, 1)
    assert.ok(first.sent < runner + 100_000, `${first.sent} bytes`)
    assert.equal(world.stores().length, 1, "command and plugin have one store")
    assert.doesNotMatch(world.logs(), /commits? behind/)

    writeFileSync(join(world.project, "more.bin"), randomBytes(LARGE))
    git(world.project, "add", "more.bin")
    git(world.project, "commit", "--quiet", "--message=second")
    const second = await session(world)
    assert.equal(second.output, `installed\n${LARGE}\nsecond\nfirst\n`)
    assert.equal(second.uploads, 1)
    assert.ok(second.sent > runner + LARGE && second.sent < runner + LARGE + 100_000, `${second.sent} bytes`)
    assert.match(world.logs(), /The snapshot web is 1 commit behind, and each sandbox is still sent 3\.0 MB .*snapshot create web-2 --run 'mkdir node_modules/)

    const made = await create(world, "web-2", "--replace")
    assert.match(made, /The snapshot web is deleted\./)
    const third = await session(world)
    assert.ok(third.sent < runner + 100_000, `${third.sent} bytes`)
    assert.match((await start(world, ["list"]).ended).said, /^web-2: this project at \w+\. It is active\. Sessions of this project start from it\.$/m)
  } finally {
    await world.close()
  }
})

for (const [name, prepare] of [
  ["a project with a remote, as scp writes it", (project) => git(project, "remote", "add", "origin", "git@GitHub.com:Some/Project.git")],
  ["a project with a remote, as a URL", (project) => git(project, "remote", "add", "origin", "https://user:secret@git.example.org:8443/a/b.git")],
  ["a project with several root commits", (project) => {
    git(project, "checkout", "--quiet", "--orphan", "other")
    git(project, "commit", "--quiet", "--message=another root")
    git(project, "merge", "--quiet", "--allow-unrelated-histories", "--strategy=ours", "--message=both", "main")
  }],
]) {
  test(`the command knows the store of ${name}`, async () => {
    const world = await createWorld({ files: { "a.txt": "a\n", "large.bin": "x\n", ".gitignore": "node_modules\n" }, scripts: { look } })
    try {
      prepare(world.project)
      await create(world, "web", "--run", install)
      const { output } = await session(world)
      assert.match(output, /^installed\n/)
      assert.equal(world.stores().length, 1)
      // OpenCode has been here meanwhile.
      await create(world, "web-2")
      assert.equal(world.stores().length, 1)
    } finally {
      await world.close()
    }
  })
}

test("Ctrl-C deletes the sandbox at once, and after a kill the next start of OpenCode does", async () => {
  const world = await createWorld({ files: { "a.txt": "a\n" }, scripts: { look, hello: [{ text: "Hello." }] }, options: { prewarm: false } })
  try {
    for (const signal of ["SIGINT", "SIGKILL"]) {
      const running = start(world, ["create", "web", "--run", "echo begun; sleep 1000"])
      await eventually("the command runs", () => /^begun$/m.test(running.said()))
      running.child.kill(signal)
      const { code, said } = await running.ended
      const left = await builders(world)
      if (signal === "SIGINT") {
        assert.equal(code, 130, said)
        assert.deepEqual(left, [], said)
      } else {
        assert.equal(left.length, 1)
        const opencode = await world.serve()
        await opencode.session()
        await eventually("it is deleted", async () => (await builders(world)).length === 0)
      }
    }
    const { code, said } = await start(world, ["create", "web", "--run", "exit 9"]).ended
    assert.equal(code, 1)
    assert.match(said, /`exit 9` ended with exit code 9/)
    assert.deepEqual(await builders(world), [])
  } finally {
    await world.close()
  }
})
