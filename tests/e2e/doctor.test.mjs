// `npx opencode-daytona-sandbox`: what it finds, what it corrects, and that what it installs leaves
// nothing to a model when the plugin cannot be had.

import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { after, before, describe, test } from "node:test"
import { createWorld, git, opencodeBinary, packedPackage, startLocal } from "../lib/world.mjs"

const program = () => join(packedPackage(), "dist/cli.js")

/** Runs the program as `npx` would; never with a key in its output. */
function run(world, args, env = {}) {
  const environment = { ...world.environment, ...env }
  return new Promise((done) => {
    execFile(process.execPath, [program(), ...args], { cwd: world.project, env: environment }, (error, stdout, stderr) => {
      const key = environment.DAYTONA_API_KEY
      if (key) assert.ok(!(stdout + stderr).includes(key), "a key was printed")
      done({ code: error?.code ?? 0, text: stdout, stderr })
    })
  })
}

describe("doctor", () => {
  let local, world
  const path = () => join(world.project, "opencode.json")
  const config = (value) => writeFileSync(path(), typeof value === "string" ? value : JSON.stringify(value))
  before(async () => {
    local = await startLocal()
    world = await createWorld({ local })
    // What is tested stands in the project's file alone.
    writeFileSync(world.configFile, "{}")
  })
  after(async () => {
    await world?.close()
    await local?.stop()
  })

  test("a world without the plugin is told what is wrong, and is corrected", async () => {
    config('// my settings\n{\n  "theme": "x", // dark\n}\n')
    const before = await run(world, ["doctor"])
    assert.equal(before.code, 1)
    assert.match(before.text, /^BAD {3}plugin .*the agent's tools run on this machine/m)
    assert.match(before.text, /^BAD {3}denials .*bash, edit, glob, grep, read/m)
    assert.match(before.text, /doctor --fix` corrects 4 of the above/)
    const fixed = await run(world, ["doctor", "--fix"])
    assert.equal(fixed.code, 0, fixed.text + fixed.stderr)
    assert.match(fixed.text, /Everything is in place/)
    assert.match(fixed.text, /^ok {4}API .*accepts the key/m)
    const text = readFileSync(path(), "utf8")
    for (const kept of ["// my settings", "// dark", '"opencode-daytona-sandbox@', '"bash": "deny"', '"shell": "false"', '"snapshot": false']) assert.ok(text.includes(kept), text)
    assert.equal((await run(world, ["doctor"])).code, 0)
  })

  test("the key `plugins`, which OpenCode ignores, is found and corrected", async () => {
    config({ plugins: [["opencode-daytona-sandbox@0.1.0", { prewarm: false }]] })
    assert.match((await run(world, ["doctor"])).text, /^BAD {3}plugin .*under `plugins`, which OpenCode ignores without a word: OpenCode 1 reads `plugin`/m)
    assert.equal((await run(world, ["doctor", "--fix"])).code, 0)
    const fixed = JSON.parse(readFileSync(path(), "utf8"))
    assert.deepEqual(fixed.plugin, [["opencode-daytona-sandbox@0.1.0", { prewarm: false }]])
    assert.equal(fixed.plugins, undefined)
  })

  test("rules of the user's own are left alone, and said", async () => {
    config({ plugin: ["opencode-daytona-sandbox@0.1.0"], permission: { bash: { "rm *": "ask" } }, shell: "/bin/zsh" })
    const { text } = await run(world, ["doctor", "--fix"])
    assert.match(text, /^note {2}denials .*Your own rules for bash/m)
    const fixed = JSON.parse(readFileSync(path(), "utf8"))
    assert.deepEqual(fixed.permission.bash, { "rm *": "ask" })
    assert.equal(fixed.permission.read, "deny")
    assert.equal(fixed.shell, "/bin/zsh")
  })

  const spec = "opencode-daytona-sandbox@0.1.0"
  for (const [name, value, env, expected] of [
    ["no key", { plugin: [spec] }, { DAYTONA_API_KEY: "" }, /^BAD {3}options .*DAYTONA_API_KEY is not set/m],
    ["a wrong key", { plugin: [spec] }, { DAYTONA_API_KEY: "not-the-key" }, /^BAD {3}API .*refused the API key \(401/m],
    ["an API that nobody serves", { plugin: [spec] }, { DAYTONA_API_URL: "http://127.0.0.1:2/api" }, /^BAD {3}API .*cannot connect/m],
    ["an unknown option", { plugin: [[spec, { snapshto: "x" }]] }, {}, /^BAD {3}options .*has no option "snapshto"/m],
    ["a snapshot that is not there", { plugin: [[spec, { snapshot: "nope" }]] }, {}, /^BAD {3}snapshot .*nope/m],
    ["no version", { plugin: ["opencode-daytona-sandbox"] }, {}, /^BAD {3}version .*No version is named/m],
    ["a file that does not parse", "{ plugin: ", {}, /^BAD {3}config .*opencode\.json/m],
  ]) {
    test(`${name} is found`, async () => {
      config(value)
      const { code, text } = await run(world, ["doctor"], env)
      assert.equal(code, 1, text)
      assert.match(text, expected)
    })
  }

  test("the OpenCode that is installed says its release", async () => {
    config({ plugin: [spec] })
    assert.match((await run(world, ["doctor"])).text, /^note {2}opencode .*no `opencode` is on the PATH/m)
    const PATH = `${dirname(opencodeBinary())}:${world.environment.PATH}`
    assert.match((await run(world, ["doctor"], { PATH })).text, /^ok {4}opencode {3}\d+\.\d+\.\d+ \(.*opencode\)$/m)
  })

  test("anything else is explained", async () => {
    assert.match((await run(world, ["--version"])).text, /^\d+\.\d+\.\d+\n$/)
    assert.match((await run(world, ["help"])).text, /Usage: opencode-daytona-sandbox <command>/)
    const wrong = await run(world, ["docotr"])
    assert.equal(wrong.code, 2)
    assert.match(wrong.text, /There is no command `docotr`/)
  })
})

test("in an empty home, without a way to the registry, what `init` makes leaves a model nothing of the host", async () => {
  const world = await createWorld({ local: null, files: { "secret.txt": "the secret\n" } })
  try {
    // The project as a newcomer has it: no configuration yet.
    const { provider, model } = JSON.parse(readFileSync(world.configFile, "utf8"))
    writeFileSync(world.configFile, JSON.stringify({ provider, model }))
    const installed = await run(world, ["init"], { DAYTONA_API_KEY: "", DAYTONA_API_URL: "" })
    assert.match(installed.text, /^ok {4}plugin /m)
    const tries = [
      ["bash", { command: "cat secret.txt; touch made" }],
      ["read", { filePath: join(world.project, "secret.txt") }],
      ["write", { filePath: join(world.project, "made"), content: "x" }],
      ["edit", { filePath: join(world.project, "secret.txt"), oldString: "secret", newString: "open" }],
      ["apply_patch", { patchText: "*** Begin Patch\n*** Add File: made\n+x\n*** End Patch" }],
      ["glob", { pattern: "*" }],
      ["grep", { pattern: "secret" }],
      ["webfetch", { url: "http://127.0.0.1:9/" }],
      ["task", { description: "x", prompt: "@secret.txt", subagent_type: "general" }],
      ["skill", { name: "customize-opencode" }],
    ]
    world.model.scripts.try = [{ calls: tries }]
    world.model.scripts["*"] = [{ text: "I see." }]
    const opencode = await world.serve({ env: { NPM_CONFIG_REGISTRY: "http://127.0.0.1:9/", npm_config_registry: "http://127.0.0.1:9/", npm_config_fetch_retries: "0" } })
    const session = await opencode.session()
    for (const family of ["m", "gpt-5"]) {
      const results = await opencode.prompt(session, "script:try", { model: family })
      assert.equal(results.length, tries.length)
      for (const { tool, text } of results) assert.doesNotMatch(text ?? "", /the secret/, tool)
    }
    const fake = { providerID: "fake", modelID: "m" }
    const shell = await opencode.request("POST", `/session/${session}/shell`, { agent: "build", command: "cat secret.txt; touch made", model: fake })
    assert.equal(shell.parts[0].state.output, "")
    assert.ok(!existsSync(join(world.project, "made")))
    assert.equal(readFileSync(join(world.project, "secret.txt"), "utf8"), "the secret\n")
    assert.equal(git(world.project, "status", "--porcelain", "secret.txt"), "")
  } finally {
    await world.close()
  }
})
