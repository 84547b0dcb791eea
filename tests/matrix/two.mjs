// A real OpenCode 2 with the plugin in a plain configuration: `OPENCODE2_BIN=FILE npm run matrix`.
//
// No registry that these tests can reach has OpenCode 2, so this has never been run: it is written
// against its documentation. Where a shape has changed, it fails and says what it was given; it never
// passes without having seen a refusal.

import { spawn } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createWorld, eventually, packedPackage } from "../lib/world.mjs"

const PASSWORD = "matrix"
const refusal = /opencode-daytona-sandbox does not serve OpenCode 2 yet/

/** What the model of a scripted session tries, under the names of OpenCode 2. */
const attack = (outside) => [
  { calls: [["shell", { command: `echo x > '${outside}/shell'` }], ["read", { path: `${outside}/secret` }], ["write", { path: `${outside}/write`, content: "x" }], ["edit", { path: `${outside}/secret`, oldString: "hidden", newString: "shown" }], ["glob", { pattern: "*", path: outside }], ["grep", { pattern: "hidden", path: outside }]] },
  { calls: [["patch", { patchText: `*** Begin Patch\n*** Add File: ${outside}/patch\n+x\n*** End Patch` }], ["webfetch", { url: "http://127.0.0.1:9/" }]] },
  { text: "All of it is done." },
]

async function start(binary, world) {
  const env = { ...world.environment, OPENCODE_PASSWORD: PASSWORD, OPENCODE_SERVER_PASSWORD: PASSWORD }
  const child = spawn(binary, ["serve", "--port", "0", "--hostname", "127.0.0.1"], { cwd: world.project, env, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data))
  const url = await eventually("OpenCode 2 says where it listens", () => {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${output}`)
    return output.match(/http:\/\/(?:127\.0\.0\.1|localhost):\d+/)?.[0]
  })
  const authorization = `Basic ${Buffer.from(`opencode:${PASSWORD}`).toString("base64")}`
  const request = async (method, path, body) => {
    const response = await fetch(url + path, { method, headers: { authorization, "content-type": "application/json", "x-opencode-directory": world.project }, body: body && JSON.stringify(body) })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    const json = text ? JSON.parse(text) : undefined
    return json?.data ?? json
  }
  return { request, stop: () => child.kill("SIGKILL") }
}

/** Gives a result of the matrix. */
export async function two(binary, say) {
  const started = Date.now()
  const problems = []
  let passed = 0
  const check = (name, holds, what) => (holds ? passed++ : problems.push(`OpenCode 2: ${name}${what ? `: ${what}` : ""}`))
  const world = await createWorld({ files: { "a.txt": "alpha\n" }, config: { plugin: [`file://${packedPackage()}`], permission: { external_directory: "allow" } } })
  const outside = join(world.base, "outside")
  mkdirSync(outside)
  writeFileSync(join(outside, "secret"), "hidden\n")
  world.model.scripts.two = attack(outside)
  let opencode
  try {
    opencode = await start(binary, world)
    const { id } = await opencode.request("POST", "/api/session", { location: { directory: world.project }, model: { providerID: "fake", id: "m" } })
    await opencode.request("POST", `/api/session/${id}/prompt`, { text: "script:two" })
    await eventually("the end of the turn", () => world.model.requests.some(({ messages }) => messages.filter(({ role }) => role === "tool").length >= 8), 120)
    await opencode.request("POST", `/api/session/${id}/shell`, { command: `echo x > '${outside}/typed'` }).catch(() => {})
    const told = JSON.stringify(world.model.requests.at(-1).messages)
    check("the model is told why nothing runs", refusal.test(told), told.slice(0, 1000))
    check("no file of the host is told", !told.includes("hidden\\n") && !JSON.stringify(await opencode.request("GET", `/api/session/${id}/message`)).includes("hidden\\n"))
  } catch (error) {
    problems.push(`OpenCode 2: ${error.message}`)
  } finally {
    opencode?.stop()
  }
  check("nothing was written on the host", readdirSync(outside).join() === "secret", readdirSync(outside).join())
  check("the worktree is as it was", !existsSync(join(world.project, "patch")))
  await world.close()
  const seconds = (Date.now() - started) / 1000
  say(`2.x       smoke        ${problems.length ? "FAILED" : "ok"} ${passed} passed ${problems.length} failed ${seconds.toFixed(1)} s`)
  for (const problem of problems) say(`    ${problem}`)
  return { passed, problems, seconds }
}
