// Installed by name from an npm registry, as users do it: a registry of our own on loopback, the
// packed package, and an OpenCode that has only the name in its configuration.

import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { createWorld, eventually, packedPackage, root } from "../lib/world.mjs"
import { createSyncWorld } from "../sync/world.mjs"

/** The registry that npm is set up with here: verdaccio passes on to it what is not ours. */
const upstream = () => execFileSync("npm", ["config", "get", "registry"], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()

async function freePort() {
  const server = createServer()
  await new Promise((done) => server.listen(0, "127.0.0.1", done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}

async function startRegistry(dir) {
  // verdaccio cannot choose a free port and tell it; one that was just free, tried until it holds.
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort()
    const config = join(dir, "config.yaml")
    writeFileSync(
      config,
      [
        `storage: ${join(dir, "storage")}`,
        "auth: { htpasswd: { file: ./htpasswd, max_users: 10 } }",
        `uplinks: { npmjs: { url: ${upstream()}, timeout: 60s } }`,
        "packages:",
        "  opencode-daytona-sandbox: { access: $all, publish: $all }",
        "  opencode-session-sync: { access: $all, publish: $all }",
        "  '**': { access: $all, proxy: npmjs }",
        "max_body_size: 50mb",
        "log: { type: stdout, format: json, level: warn }",
      ].join("\n"),
    )
    const child = spawn(process.execPath, [join(root, "node_modules/verdaccio/bin/verdaccio"), "--config", config, "--listen", `127.0.0.1:${port}`], { cwd: dir, stdio: "ignore" })
    const url = `http://127.0.0.1:${port}/`
    try {
      await eventually("the registry's start", async () => child.exitCode !== null || (await fetch(`${url}-/ping`)).ok, 60)
      if (child.exitCode === null) return { url, child }
    } catch {
      child.kill("SIGKILL")
    }
  }
  throw new Error("verdaccio did not start")
}

/** Publishes a package as it is packed; gives its manifest. */
function publish(registry, dir, packed) {
  const tarball = readdirSync(join(packed, "..")).find((name) => name.endsWith(".tgz"))
  writeFileSync(join(dir, ".npmrc"), `//${new URL(registry.url).host}/:_authToken=anybody\n`)
  execFileSync("npm", ["publish", join(packed, "..", tarball), "--registry", registry.url, "--userconfig", join(dir, ".npmrc")], { cwd: dir, stdio: ["ignore", "pipe", "pipe"] })
  const manifest = JSON.parse(readFileSync(join(packed, "package.json"), "utf8"))
  assert.equal(manifest.dependencies, undefined, "the package brings no run-time packages")
  return manifest
}

test("installed by name from a registry, the plugin serves every tool", { timeout: 300_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), "registry-"))
  const registry = await startRegistry(dir)
  const world = await createWorld({
    files: { "a.txt": "alpha\n" },
    plugin: "opencode-daytona-sandbox@0.1.0",
    env: { npm_config_registry: registry.url },
    scripts: { where: [{ calls: [["bash", { command: "pwd" }], ["read", { filePath: "a.txt" }]] }] },
  })
  try {
    const manifest = publish(registry, dir, packedPackage())
    const { tools, code, stderr } = await world.run("script:where")
    assert.equal(code, 0, stderr)
    const of = (name) => tools.find((tool) => tool.tool === name)?.text
    assert.equal(of("bash"), "/home/daytona/project\n")
    assert.match(of("read"), /1: alpha/)
    assert.equal(manifest.version, "0.1.0", "the name in this test follows the version")
  } finally {
    registry.child.kill("SIGKILL")
    await world.close()
    rmSync(dir, { recursive: true, force: true })
  }
})

test("session sync, in the three steps of its README", { timeout: 300_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), "registry-"))
  const registry = await startRegistry(dir)
  const world = await createSyncWorld({ scripts: { hi: [{ text: "Hello." }] }, login: false, options: { env: { npm_config_registry: registry.url }, config: { plugin: [] } } })
  try {
    publish(registry, dir, packedPackage("packages/session-sync"))
    const npm = { cwd: world.project, env: { ...world.environment, npm_config_prefix: join(world.home, ".npm-global") } }
    execFileSync("npm", ["install", "--global", "opencode-session-sync"], { ...npm, stdio: ["ignore", "pipe", "pipe"] })
    const installed = { program: join(world.home, ".npm-global/bin/opencode-sync"), env: npm.env }
    const login = await world.command(["login", "--url", world.store.url], { ...installed, input: world.store.key })
    assert.equal(login.code, 0, login.stdout + login.stderr)
    const init = await world.command(["init"], installed)
    assert.equal(init.code, 0, init.stdout + init.stderr)
    const { code, stderr } = await world.run("script:hi")
    assert.equal(code, 0, stderr)
    assert.deepEqual(await world.differences(await world.saved()), [])
    assert.equal((await world.stored())[0].messages.at(-1).textContent, "Hello.")
  } finally {
    registry.child.kill("SIGKILL")
    await world.close()
    rmSync(dir, { recursive: true, force: true })
  }
})
