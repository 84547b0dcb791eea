// The stand-in for a shell, on the paths of every platform. What it does in the real OpenCode is in
// tests/e2e/typed.test.mjs.

import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../dist/sandbox-shell", import.meta.url))
let dir, javascript

before(() => {
  dir = mkdtempSync(join(tmpdir(), "sandbox-shell-"))
  javascript = join(dir, "javascript")
  writeFileSync(javascript, `#!/bin/sh\nprintf '%s\\n' "$#" "$1" "$2" "$BUN_BE_BUN" "$MSYS_NO_PATHCONV" "$MSYS2_ARG_CONV_EXCL" "$MSYS2_ENV_CONV_EXCL"\n`)
  chmodSync(javascript, 0o755)
})
after(() => rmSync(dir, { recursive: true, force: true }))

/** Runs the script by a path, relative to a directory that has it under that name. */
function run(path, command, env) {
  const at = join(dir, path)
  mkdirSync(join(at, ".."), { recursive: true })
  copyFileSync(script, at)
  const { status, stdout, stderr } = spawnSync("sh", [path, "-c", command], { cwd: dir, encoding: "utf8", env: { PATH: process.env.PATH, ...env } })
  return { status, out: stdout, lines: stdout.split("\n").slice(0, -1), stderr }
}

const started = { OPENCODE_DAYTONA_SHELL: "{}" }
// A backslash is part of a name here, so a path of Windows is a file's name.
const onUnix = { skip: process.platform === "win32" && "the names of these files are no names on Windows" }

for (const [path, program, translates] of [
  ["dist/sandbox-shell", "dist/shell.js", true],
  ["C:\\w\\dist\\sandbox-shell", "C:\\w\\dist/shell.js", false],
  ["\\\\server\\share\\dist\\sandbox-shell", "\\\\server\\share\\dist/shell.js", false],
]) {
  test(`${path} starts the program beside it, with the command as it was typed`, onUnix, () => {
    const command = `echo "a b" 'c' $HOME \\ /etc & touch ${dir}/made; * %PATH%\nexit 3`
    const { lines, status } = run(path, command, { ...started, OPENCODE_DAYTONA_JAVASCRIPT: javascript })
    const own = translates ? ["", "", ""] : ["1", "*", "*"]
    assert.deepEqual(lines, ["2", program, ...command.split("\n"), "1", ...own])
    assert.equal(status, 0)
    assert.ok(!readdirSync(dir).includes("made"))
  })

  test(`${path} runs nothing where it is told why, where it is not told whose command it is, and where there is no JavaScript`, onUnix, () => {
    const command = `touch '${dir}/made'`
    const refused = run(path, command, { ...started, OPENCODE_DAYTONA_REFUSED: "because" })
    assert.deepEqual([refused.status, refused.out, refused.stderr], [1, "", "because\n"])
    assert.equal(run(path, command, {}).out, `<opencode-daytona-shell:${Buffer.from(command).toString("hex")}>`)
    assert.notEqual(run(path, command, started).status, 0)
    assert.ok(!readdirSync(dir).includes("made"))
  })
}

test("there is no batch file beside it, which would have the command read by cmd.exe", () => {
  const beside = readdirSync(fileURLToPath(new URL("../dist/", import.meta.url)))
  assert.deepEqual(beside.filter((name) => /\.(cmd|bat|ps1)$/i.test(name)), [])
})
