// Session sync with the real OpenCode: what it says of its sessions is what the store has.

import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { openTerminal } from "../lib/terminal.mjs"
import { eventually, opencodeBinary, packedPackage } from "../lib/world.mjs"
import { createSyncWorld } from "../sync/world.mjs"

packedPackage("packages/session-sync")

const secret = `ghp_${"abcdefghijklmnopqrstuvwxyz0123456789".slice(0, 36)}`
const scripts = {
  work: [{ text: "Let me look.", calls: [["read", { filePath: "README.md" }], ["bash", { command: "echo one; echo two" }]] }, { text: "That is all." }],
  slowly: [{ delayMs: 1_500, calls: [["bash", { command: "echo one" }]] }, { text: "That is all." }],
  // More than a pipe takes at once.
  wide: [{ calls: [1, 2, 3].map((n) => ["bash", { command: `seq ${n}00000 ${n}06000` }]) }, { text: "Many numbers." }],
  fail: [{ calls: [["read", { filePath: "nothing.txt" }]] }, { text: "There is no such file." }],
  sub: [{ calls: [["task", { description: "look around", prompt: "script:inner", subagent_type: "general" }]] }, { text: "The other one has looked." }],
  inner: [{ calls: [["bash", { command: "echo inner" }]] }, { text: "Looked." }],
  secret: [{ calls: [["bash", { command: `echo token=${secret}; cat .env` }]] }, { text: `The token is ${secret}.` }],
}

/** Waits until the store has what OpenCode has. */
async function same(world, opencode) {
  let found
  const look = async () => (found = await world.differences(await world.conversations(opencode))).length === 0
  await eventually("both sides are the same", look, 90).catch((error) => {
    throw new Error(`${error.message}\n${found.join("\n")}\n${JSON.stringify(world.spool(), null, 1).slice(0, 3000)}`)
  })
}

describe("session sync, one OpenCode that serves", () => {
  let world, opencode
  before(async () => {
    world = await createSyncWorld({ scripts: { ...scripts } })
    opencode = await world.serve()
  })
  after(() => world?.close())

  test("turns with tools, a tool that fails, and a subagent are in the store as they are in OpenCode", async () => {
    const session = await opencode.session()
    for (const name of ["work", "fail", "sub"]) await opencode.prompt(session, `Please. script:${name}`)
    await same(world, opencode)
    const titles = (await world.stored()).map(({ title }) => title)
    assert.equal(titles.length, 2)
    assert.ok(titles.some((title) => /look around \(@general subagent\)/.test(title)), titles.join())
  })

  test("a turn costs a request for each message and at most two more, reading back apart", async () => {
    await same(world, opencode)
    let session
    for (const turn of ["the first", "the second"]) {
      await world.control("DELETE", "requests")
      session ??= await opencode.session({ title: "counted" })
      await opencode.prompt(session, `Please. script:slowly`)
      await same(world, opencode)
      const posts = (await world.requests()).filter((request) => request.startsWith("POST"))
      assert.ok(posts.length <= 3 + 2, `${turn}: ${posts.join()}`)
    }
  })

  test("an undo and what comes after it", async () => {
    const session = await opencode.session({ title: "undone" })
    await opencode.prompt(session, "One. script:work")
    await opencode.prompt(session, "Two. script:work")
    const messages = await opencode.request("GET", `/session/${session}/message`)
    const second = messages.filter(({ info }) => info.role === "user")[1].info.id
    await eventually("an undo", () => opencode.request("POST", `/session/${session}/revert`, { messageID: second }))
    await opencode.prompt(session, "Three. script:fail")
    await same(world, opencode)
    const [stored] = (await world.stored()).filter(({ externalId }) => externalId === session)
    assert.ok(stored.messages.some(({ textContent }) => /Three/.test(textContent)))
    assert.ok(!stored.messages.some(({ textContent }) => /Two/.test(textContent)))
  })

  test("a session that its title calls private stays here", async () => {
    const session = await opencode.session({ title: "Taxes [private]" })
    await opencode.prompt(session, "Please. script:work")
    const open = await opencode.session({ title: "the one after" })
    await opencode.prompt(open, "Please. script:work")
    await eventually("the other one is there", async () => (await world.stored()).some(({ externalId }) => externalId === open))
    assert.ok(!(await world.stored()).some(({ externalId }) => externalId === session))
    await opencode.request("DELETE", `/session/${session}`)
  })

  test("secrets leave neither for the store nor for the disk", async () => {
    writeFileSync(join(world.project, ".env"), "SHOP_PASSWORD=correct-horse-battery\nPORT=3000\n")
    const session = await opencode.session({ title: "secrets" })
    await opencode.prompt(session, "Please. script:secret")
    await eventually("it is there", async () => (await world.stored()).find(({ externalId }) => externalId === session)?.messages.length === 3)
    for (const text of [JSON.stringify(await world.stored()), JSON.stringify(world.spool())]) {
      assert.ok(!text.includes(secret))
      assert.ok(!text.includes("correct-horse-battery"))
    }
    assert.ok(JSON.stringify(await world.stored()).includes("PORT=3000"), "what is no secret is there")
  })
})

describe("session sync, and an end", () => {
  test("`opencode run` loses nothing, the last answer included", async () => {
    const world = await createSyncWorld({ scripts })
    try {
      await world.run("Do it. script:work")
      const stored = await eventually("it is there", async () => (await world.stored())[0])
      assert.ok(stored.messages.some(({ textContent }) => textContent === "That is all."), "when `run` has ended")
      assert.deepEqual(await world.differences(await world.saved()), [])
    } finally {
      await world.close()
    }
  })

  test("without a store nothing is written, sent or said, and OpenCode works", async () => {
    const world = await createSyncWorld({ scripts, login: false })
    try {
      const { code, tools } = await world.run("Do it. script:work")
      assert.equal(code, 0)
      assert.equal(tools.length, 2)
      assert.ok(!existsSync(world.state))
      assert.deepEqual(await world.requests(), [])
      assert.match(world.logs(), /Sessions are not synced: no store is set up: run `opencode-sync login`/)
    } finally {
      await world.close()
    }
  })

  test("a store that is away at the end gets all of it afterwards, from a process that stays behind", async () => {
    const world = await createSyncWorld({ scripts })
    try {
      await world.control("POST", "fault", { drop: "before", times: -1 })
      const { code } = await world.run("Do it. script:work")
      assert.equal(code, 0)
      assert.deepEqual(await world.stored(), [])
      await world.control("DELETE", "fault")
      await eventually("it is there", async () => (await world.stored())[0]?.messages.some(({ textContent }) => textContent === "That is all."), 90)
      await eventually("nothing waits", () => !existsSync(join(world.state, "drain")), 90)
      assert.deepEqual(await world.differences(await world.saved()), [])
    } finally {
      await world.close()
    }
  })

  test("an OpenCode that is killed in mid-answer loses nothing that it has: the next start brings it", async () => {
    const stuck = { ...scripts, slow: [{ text: "A first step.", calls: [["bash", { command: "echo made; sleep 600" }]] }] }
    const world = await createSyncWorld({ scripts: stuck })
    try {
      const child = spawn(opencodeBinary(), ["run", "--format", "json", "script:slow"], { cwd: world.project, env: world.environment, stdio: "ignore", detached: true })
      await eventually("the command runs", () => world.model.requests.some((request) => JSON.stringify(request).includes("script:slow")))
      const opencode = await world.serve({ env: { OPENCODE_PURE: "1" } })
      await eventually("the call is stored", async () => JSON.stringify(await world.conversations(opencode)).includes("sleep 600"))
      await opencode.stop()
      process.kill(-child.pid, "SIGKILL")
      await once(child, "exit")
      await world.run("Go on. script:work")
      const saved = await world.saved()
      await eventually("both sides are the same", async () => (await world.differences(saved)).length === 0, 90).catch(async (error) => {
        throw new Error(`${error.message}\n${(await world.differences(saved)).join("\n")}`)
      })
    } finally {
      await world.close()
    }
  })

  test("a session of the terminal is there when OpenCode has ended", async () => {
    const world = await createSyncWorld({ scripts: { "*": scripts.work } })
    const terminal = openTerminal(world)
    try {
      await terminal.type("look at it")
      terminal.keys("Enter")
      await terminal.shows(/That is all/)
      await eventually("the turn's end", () => !/interrupt/.test(terminal.screen()))
      terminal.keys("C-c")
      await terminal.shows(/ended with/)
      const saved = await world.saved()
      assert.equal(saved.length, 1)
      await eventually("both sides are the same", async () => (await world.differences(saved)).length === 0, 90)
    } finally {
      terminal.close()
      await world.close()
    }
  })
})

describe("the command opencode-sync", () => {
  test("login takes a key from standard input, tries it, and keeps it for the user alone", async () => {
    const world = await createSyncWorld({ scripts, login: false })
    try {
      const wrong = await world.command(["login", "--url", world.store.url], { input: "osk_wrong\n" })
      assert.equal(wrong.code, 1)
      assert.match(wrong.stdout, /refused the key/)
      const file = join(world.home, ".config/opencode-sync/config.json")
      assert.ok(!existsSync(file), "nothing is saved")
      const login = await world.command(["login", "--url", world.store.url], { input: `${world.store.key}\n` })
      assert.equal(login.code, 0, login.stdout)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.equal(statSync(join(file, "..")).mode & 0o777, 0o700)
      assert.equal(JSON.parse(readFileSync(file, "utf8")).apiKey, world.store.key)
      const { stdout } = await world.command(["config"])
      assert.ok(!stdout.includes(world.store.key), "a key is never shown whole")
      const status = await world.command(["status", "--json"])
      assert.equal(JSON.parse(status.stdout).ok, true)
      const nobody = await world.command(["login"])
      assert.equal(nobody.code, 1)
      assert.match(nobody.stdout, /--url/)
    } finally {
      await world.close()
    }
  })

  test("push brings sessions of the past, and a second time nothing", async () => {
    const world = await createSyncWorld({ scripts, login: false })
    try {
      for (const name of ["wide", "fail", "sub"]) await world.run(`Do it. script:${name}`)
      assert.deepEqual(await world.stored(), [])
      world.config({ url: world.store.url, apiKey: world.store.key })
      const rehearsed = await world.command(["push", "--dry-run", "--json"])
      assert.equal(rehearsed.code, 0, rehearsed.stdout + rehearsed.stderr)
      assert.deepEqual(await world.stored(), [], "a rehearsal sends nothing")
      const pushed = await world.command(["push"])
      assert.equal(pushed.code, 0, pushed.stdout + pushed.stderr)
      const saved = await world.saved()
      assert.equal(saved.length, 4)
      assert.deepEqual(await world.differences(saved), [])
      await world.control("DELETE", "requests")
      assert.equal((await world.command(["push"])).code, 0)
      assert.deepEqual((await world.requests()).filter((request) => request.startsWith("POST")), [])
    } finally {
      await world.close()
    }
  })

  test("what is wrong is said in a sentence, with an exit code", async () => {
    const world = await createSyncWorld({ scripts, login: false })
    try {
      for (const [args, code, says] of [
        [["push"], 1, /no store is set up: run `opencode-sync login`/],
        [["dance"], 2, /there is no command `dance`/],
        [["push", "--since", "yesterday"], 2, /is no date/],
        [["version"], 0, /^\d+\.\d+\.\d+$/m],
      ]) {
        const done = await world.command(args)
        assert.equal(done.code, code, args.join(" "))
        assert.match(done.stdout, says)
      }
    } finally {
      await world.close()
    }
  })
})
