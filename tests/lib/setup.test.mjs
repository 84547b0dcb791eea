// The set-up itself: what it notices, and what it counts.

import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { Count } from "./count.mjs"
import { installedAsLocked } from "./lock.mjs"
import { advice, fill, look, PROGRAMS, searchPath } from "./programs.mjs"
import { root } from "./world.mjs"

const shim = join(root, "plugin-shim")

/** A repository with these files of this one, in which `npm publish` can be called. */
function published(t, names) {
  const dir = directory(t)
  for (const name of ["package.json", "package-lock.json", "tests/lib/packed.mjs", ...names]) cpSync(join(root, name), join(dir, name), { recursive: true })
  mkdirSync(join(dir, "bin"))
  // A build would take minutes: this one only says that it was called.
  writeFileSync(join(dir, "bin/cargo"), "#!/bin/sh\necho built: $*\n", { mode: 0o755 })
  const publish = (workspace) => {
    // Nothing listens there: what is published goes nowhere, and the registry is not asked either.
    const args = ["publish", "--workspace", workspace, "--dry-run", "--registry", "http://127.0.0.1:9/", "--fetch-retries", "0"]
    return spawnSync("npm", args, { cwd: dir, encoding: "utf8", env: { ...process.env, PATH: `${join(dir, "bin")}:${searchPath()}` } })
  }
  return { dir, publish }
}

function directory(t) {
  const dir = mkdtempSync(join(tmpdir(), "setup-test-"))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

test("npm packages count as installed only if they are those of the lock file", (t) => {
  const dir = directory(t)
  mkdirSync(join(dir, "node_modules"))
  const packages = (more) => ({ "node_modules/a": { version: "1.0.0", integrity: "x" }, "node_modules/b": { version: "2.0.0", integrity: "y" }, ...more })
  const elsewhere = { "node_modules/other-platform": { version: "1.0.0", integrity: "z", optional: true } }
  const locked = { "": { devDependencies: { a: "1.0.0" } }, ...packages(elsewhere) }
  const write = (name, packages) => writeFileSync(join(dir, name), typeof packages === "string" ? packages : JSON.stringify({ packages }))
  write("package-lock.json", locked)
  assert.equal(installedAsLocked(dir), false, "nothing is installed")
  for (const [what, installed, expected] of [
    ["all of it", packages(), true],
    ["another platform's package too", packages(elsewhere), true],
    ["another version", packages({ "node_modules/a": { version: "1.0.1", integrity: "x" } }), false],
    ["other content of the same version", packages({ "node_modules/a": { version: "1.0.0", integrity: "w" } }), false],
    ["an optional package of another version", packages({ "node_modules/other-platform": { version: "0.9.0", integrity: "v", optional: true } }), false],
    ["one package less", { "node_modules/a": packages()["node_modules/a"] }, false],
    ["one package more", packages({ "node_modules/c": { version: "1.0.0" } }), false],
    ["what is not JSON", "{", false],
  ]) {
    write("node_modules/.package-lock.json", installed)
    assert.equal(installedAsLocked(dir), expected, what)
  }
})

test("the packages of this repository are those of its lock file", () => {
  assert.ok(installedAsLocked(root))
})

test("the packages of the whole repository are installed, whatever npm was told when it called the build", (t) => {
  const dir = directory(t)
  for (const name of ["package.json", "package-lock.json", "tests/lib"]) cpSync(join(root, name), join(dir, name), { recursive: true })
  mkdirSync(join(dir, "bin"))
  writeFileSync(join(dir, "bin/npm"), '#!/bin/sh\necho "$* for <$npm_config_workspace$npm_config_workspaces>, dry run: $npm_config_dry_run"\n', { mode: 0o755 })
  // As in `prepack` of `npm publish --workspace plugin-shim --dry-run`.
  const env = { ...process.env, PATH: `${join(dir, "bin")}:${searchPath()}`, npm_config_workspace: "plugin-shim", npm_config_workspaces: "true", npm_config_dry_run: "true" }
  const { stdout, stderr } = spawnSync(process.execPath, [join(dir, "tests/lib/setup.mjs"), "packages"], { encoding: "utf8", env })
  assert.equal(stdout, "ci --no-fund --no-audit for <>, dry run: false\n", stderr)
})

test("the directory of programs has a link to each and nothing else", (t) => {
  const dir = join(directory(t), "programs")
  fill(dir, new Map([["a", "/one/a"], ["b", "/one/b"]]))
  mkdirSync(join(dir, "left-over"))
  fill(dir, new Map([["a", "/one/a"], ["b", "/two/b"]]))
  assert.deepEqual(readdirSync(dir).sort(), ["a", "b"])
  symlinkSync(dir, join(dir, "../link"))
  fill(dir, look().found)
  assert.deepEqual(readdirSync(dir).sort(), [...look().found.keys()].sort())
  assert.equal(realpathSync(join(dir, "node")), realpathSync(process.execPath))
})

test("a program that is missing is named with its package and what needs it", () => {
  const entry = PROGRAMS.find(({ names }) => names === "bwrap")
  const text = advice([{ name: "bwrap", ...entry }])
  assert.match(text, /bwrap \(.*sandboxes\)/)
  assert.match(text, /`sudo apt-get install bubblewrap`/)
})

test("no program is listed twice, and rg comes from npm alone", () => {
  const names = PROGRAMS.flatMap(({ names }) => names.split(" "))
  assert.equal(new Set(names).size, names.length, "no program is listed twice")
  assert.ok(!names.includes("rg"), "rg is the pinned one of npm")
})

test("skipped tests are counted as skipped, with their reasons, and not as passed", () => {
  const count = new Count()
  count.rust("one", 0, "test a ... ok\n\nSKIPPED: b: no reftable here\ntest b ... ok\ntest c ... ignored, takes an hour\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n")
  count.node("two", 0, "ok 1 - d\nok 2 - e # SKIP as root\n# tests 2\n# pass 1\n# fail 0\n# cancelled 0\n# skipped 1\n")
  assert.equal(
    count.report(),
    "SKIPPED: one: b: no reftable here\nSKIPPED: one: c: takes an hour\nSKIPPED: two: e: as root\n2 passed, 0 failed, 3 skipped",
  )
})

test("what fails, crashes, says nothing or has no test is a failure", () => {
  const result = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n"
  for (const [kind, code, text, failed] of [
    ["rust", 0, result, 0],
    ["rust", 101, result.replace("0 failed", "3 failed"), 3],
    ["rust", 134, "test a ... ok\n", 1],
    ["rust", 134, result, 1],
    ["rust", 0, "", 1],
    ["node", 0, "# tests 1\n# pass 1\n# fail 0\n", 0],
    ["node", 1, "# tests 2\n# pass 1\n# fail 1\n", 1],
    ["node", 1, "# tests 2\n# pass 1\n# fail 0\n# cancelled 1\n", 1],
    ["node", 0, "# tests 0\n# pass 0\n# fail 0\n", 1],
    ["node", 1, "", 1],
  ]) {
    const count = new Count()
    count[kind]("part", code, text)
    assert.equal(count.failed, failed, `${kind} ${code} ${text}`)
    assert.equal(count.failures.length, failed ? 1 : 0, `${kind} ${code} ${text}`)
  }
})

test("`npm publish -w plugin-shim` builds, and fails if what it packed would not load", async (t) => {
  const remove = (path) => (dir) => rmSync(join(dir, path))
  const manifest = (change) => (dir) => {
    const text = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"))
    change(text)
    writeFileSync(join(dir, "package.json"), JSON.stringify(text))
  }
  for (const [what, damage, expected] of [
    ["nothing is wrong", () => {}, undefined],
    ["the core is missing", remove("dist/generated/core_bg.wasm"), /does not say .* is ready/],
    ["the core is cut", (dir) => writeFileSync(join(dir, "dist/generated/core_bg.wasm"), readFileSync(join(shim, "dist/generated/core_bg.wasm")).subarray(0, 100_000)), /does not say .* is ready/],
    ["a part of it is not packed", manifest((text) => (text.files = ["dist/*.js", "dist/sandbox-shell", "dist/runners"])), /names \.\/dist\/index\.d\.ts/],
    ["a runner is another one", (dir) => cpSync(join(dir, "dist/runners/runner-x86_64.gz"), join(dir, "dist/runners/runner-aarch64.gz")), /runner for aarch64 is not the one/],
    ["a runner is missing", remove("dist/runners/runner-aarch64.gz"), /runners cannot be read/],
    ["the stand-in for a shell is missing", remove("dist/sandbox-shell"), /sandbox-shell is not there/],
    ["the command is missing", remove("dist/cli.js"), /names dist\/cli\.js/],
    ["the build fails", (dir) => writeFileSync(join(dir, "../bin/cargo"), "#!/bin/sh\necho cannot build >&2; exit 1\n"), /cannot build/],
  ]) {
    const names = ["package.json", "README.md", "LICENSE", "dist"].map((name) => join("plugin-shim", name))
    const { dir, publish } = published(t, [...names, "packages/session-sync/package.json"])
    damage(join(dir, "plugin-shim"))
    const { status, stdout, stderr } = publish("plugin-shim")
    if (expected) {
      assert.match(stderr, expected, what)
      assert.notEqual(status, 0, what)
    } else {
      assert.match(stdout + stderr, /built: xtask build/)
      assert.doesNotMatch(stderr, /would not work/)
      assert.match(stderr, /unpacked size/i, "it was packed")
    }
  }
})

test("`npm publish -w packages/session-sync` fails if what it packed would not load", async (t) => {
  for (const [what, damage, expected] of [
    ["nothing is wrong", () => {}, undefined],
    ["the core is missing", (dir) => rmSync(join(dir, "dist/generated/core_bg.wasm")), /does not say "no store is set up/],
    ["the shared part is missing", (dir) => rmSync(join(dir, "dist/shared"), { recursive: true }), /does not load/],
    ["the command is another one", (dir) => writeFileSync(join(dir, "dist/cli.js"), ""), /the command says that it is/],
    ["the main file is missing", (dir) => rmSync(join(dir, "dist/index.js")), /names \.\/dist\/index\.js/],
  ]) {
    const names = ["package.json", "README.md", "LICENSE", "dist"].map((name) => join("packages/session-sync", name))
    const { dir, publish } = published(t, [...names, "plugin-shim/package.json"])
    damage(join(dir, "packages/session-sync"))
    const { status, stdout, stderr } = publish("packages/session-sync")
    if (expected) {
      assert.match(stderr, expected, what)
      assert.notEqual(status, 0, what)
    } else {
      assert.doesNotMatch(stderr, /would not work/, what)
      assert.match(stdout + stderr, /built: xtask build[^]*unpacked size/i, what)
    }
  }
})
