// What the user types and OpenCode acts on by itself: `!command`, !`command` and @file.

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { createWorld, packedPackage } from "../lib/world.mjs"

const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64")
const files = {
  "a.txt": "as on the host\n",
  "dir/one.txt": "1\n",
  "nested/AGENTS.md": "Be directed.\n",
  "nested/x.txt": "x\n",
  ".gitignore": "only-here.txt\n",
  "only-here.txt": "ignored by git\n",
}
// In the configuration: for a directory .opencode, OpenCode installs packages before it answers.
const config = {
  command: {
    look: { template: "It says: !`cat a.txt; echo complaint >&2` and !`pwd`." },
    say: { template: "You said: $ARGUMENTS" },
  },
}
const scripts = {
  change: [{ calls: [["bash", { command: "echo changed in the sandbox > a.txt; echo 2 > dir/two.txt; mkdir -p deep; echo new > deep/new.txt" }]] }],
}

/** The text of the last user message that the model got. */
const heard = (world) => JSON.stringify(world.model.requests.findLast((request) => request.tools?.length).messages.filter((message) => message.role === "user").at(-1))

describe("with a sandbox", () => {
  let world, opencode, session
  const shell = (command) => opencode.request("POST", `/session/${session}/shell`, { agent: "build", command, model: { providerID: "fake", modelID: "m" } })
  const command = (name, text) => opencode.request("POST", `/session/${session}/command`, { command: name, arguments: text, model: "fake/m" })
  const attach = async (path, mime = "text/plain", query = "") => {
    const url = `file://${join(world.project, path)}${query}`
    await opencode.request("POST", `/session/${session}/message`, { parts: [{ type: "text", text: "look" }, { type: "file", url, mime, filename: path }], model: { providerID: "fake", modelID: "m" } })
    return heard(world)
  }

  before(async () => {
    world = await createWorld({ files, config, scripts: { ...scripts, "*": [{ text: "I see." }] } })
    writeFileSync(join(world.project, "dot.png"), png)
    opencode = await world.serve()
    session = await opencode.session()
    await opencode.prompt(session, "script:change")
  })
  after(() => world?.close())

  test("!command runs in the session's sandbox, with all its output and its exit code", async () => {
    const { parts } = await shell("pwd; cat a.txt; echo complaint >&2; touch made-by-hand; exit 3")
    assert.equal(parts[0].tool, "bash")
    assert.equal(parts[0].state.output, "/home/daytona/project\nchanged in the sandbox\ncomplaint\n")
    assert.ok(!existsSync(join(world.project, "made-by-hand")))
    assert.equal((await shell("ls made-by-hand")).parts[0].state.output, "made-by-hand\n")
    assert.equal((await shell("true")).parts[0].state.output, "")
  })

  test("!command shows output while it runs, each byte once", async () => {
    const { parts } = await shell("for n in 1 2 3; do echo $n; sleep 0.8; done")
    assert.equal(parts[0].state.output, "1\n2\n3\n")
  })

  test("the directory of the host means the project", async () => {
    assert.equal((await shell(`cat ${world.project}/a.txt`)).parts[0].state.output, "changed in the sandbox\n")
  })

  test("!`command` in a command's file is run in the sandbox", async () => {
    await command("look", "")
    assert.match(heard(world), /It says: changed in the sandbox\\n and \/home\/daytona\/project\\n\./)
  })

  test("!`command` in what is typed behind a command is run in the sandbox", async () => {
    await command("say", "!`hostname > name; ls name` and @dir/one.txt")
    assert.match(heard(world), /You said: name\\n and @dir\/one\.txt/)
    assert.ok(!existsSync(join(world.project, "name")))
  })

  test("@file is the sandbox's file", async () => {
    const text = await attach("a.txt")
    assert.match(text, /1: changed in the sandbox/)
    assert.doesNotMatch(text, /as on the host/)
    assert.ok(!text.includes(world.project), text)
    assert.match(text, /filePath.{1,8}\/home\/daytona\/project\/a\.txt/)
  })

  test("a range, a directory, nested instructions, a picture, and a file that only the sandbox has", async () => {
    assert.match(await attach("a.txt", "text/plain", "?start=1&end=1"), /1: changed in the sandbox/)
    assert.match(await attach("nested/x.txt"), /Instructions from: \/home\/daytona\/project\/nested\/AGENTS\.md\\nBe directed\./)
    assert.match(await attach("dir", "application/x-directory"), /two\.txt/)
    const picture = await attach("dot.png", "image/png")
    assert.ok(picture.includes(png.toString("base64")), picture.slice(0, 300))
    assert.ok(!picture.includes(world.project), picture.slice(0, 300))
    assert.match(await attach("deep/new.txt"), /1: new/)
  })

  test("a file that the sandbox does not have says so", async () => {
    const text = await attach("only-here.txt")
    assert.match(text, /ignored by git/)
    assert.match(text, /the sandbox does not have it/)
  })

  test("files outside the project are the user's own choice", async () => {
    const path = join(world.base, "notes.txt")
    writeFileSync(path, "my notes\n")
    assert.match(await attach("../notes.txt"), /my notes/)
  })

  test("undo and redo write no file of the host", async () => {
    const messages = await opencode.request("GET", `/session/${session}/message`)
    const first = messages.find((message) => message.info.role === "user")
    writeFileSync(join(world.project, "a.txt"), "mine, before\n")
    await opencode.request("POST", `/session/${session}/revert`, { messageID: first.info.id })
    writeFileSync(join(world.project, "a.txt"), "mine, after\n")
    await opencode.request("POST", `/session/${session}/unrevert`)
    assert.equal(readFileSync(join(world.project, "a.txt"), "utf8"), "mine, after\n")
  })
})

test("with shellMode \"host\" !command runs on the host, also if the configuration names no shell", async () => {
  const world = await createWorld({ files, config: { ...config, shell: "false" }, options: { shellMode: "host" } })
  try {
    const opencode = await world.serve()
    const session = await opencode.session()
    const model = { providerID: "fake", modelID: "m" }
    const { parts } = await opencode.request("POST", `/session/${session}/shell`, { agent: "build", command: "pwd", model })
    assert.equal(parts[0].state.output.trim(), world.project)
  } finally {
    await world.close()
  }
})

describe("without a sandbox nothing runs on the host instead", () => {
  for (const [name, env] of [["no key", { DAYTONA_API_KEY: "", DAYTONA_API_URL: "" }], ["Daytona is down", { DAYTONA_API_URL: "http://127.0.0.1:9/api" }]]) {
    test(name, async () => {
      const world = await createWorld({ files, env, config, scripts: { "*": [{ text: "I see." }] } })
      try {
        const opencode = await world.serve()
        const session = await opencode.session()
        const model = { providerID: "fake", modelID: "m" }
        const { parts } = await opencode.request("POST", `/session/${session}/shell`, { agent: "build", command: "touch canary; pwd", model })
        assert.match(parts[0].state.output, /not available|cannot connect/)
        await opencode.request("POST", `/session/${session}/command`, { command: "look", arguments: "!`touch canary`", model: "fake/m" })
        assert.doesNotMatch(heard(world), /as on the host/)
        assert.match(heard(world), /was not run/)
        await opencode.request("POST", `/session/${session}/message`, { parts: [{ type: "file", url: `file://${world.project}/a.txt`, mime: "text/plain", filename: "a.txt" }], model })
        assert.match(heard(world), /Read tool failed to read \/home\/daytona\/project\/a\.txt/)
        assert.doesNotMatch(heard(world), /as on the host/)
        assert.ok(!existsSync(join(world.project, "canary")))
      } finally {
        await world.close()
      }
    })
  }

  test("a shell that nobody told a session prints a marker and runs nothing", () => {
    const out = execFileSync(join(packedPackage(), "dist/sandbox-shell"), ["-c", "touch /nowhere; echo é"], { env: { PATH: process.env.PATH }, encoding: "utf8" })
    assert.equal(out, `<opencode-daytona-shell:${Buffer.from("touch /nowhere; echo é").toString("hex")}>`)
  })
})
