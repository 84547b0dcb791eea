// What a run of the tests says at its end.

import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { Count } from "./count.mjs"

test("the last lines name each failed Rust test, with what it said", () => {
  const count = new Count()
  count.rust("Rust tests, a: b", 101, `
test one ... FAILED
test two ... ok

failures:

---- one stdout ----

thread 'one' panicked at a/tests/b.rs:4:5:
assertion failed: it holds
stack backtrace:
   0: rust_begin_unwind

failures:
    one

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
`)
  assert.equal(count.report(), `FAILED: Rust tests, a: b: one
  thread 'one' panicked at a/tests/b.rs:4:5:
  assertion failed: it holds
FAILED: Rust tests, a: b (1 failed)
1 passed, 1 failed, 0 skipped`)
})

test("the last lines name each failed test of Node, with its error", () => {
  const dir = mkdtempSync(join(tmpdir(), "count-"))
  try {
    const file = join(dir, "x.test.mjs")
    writeFileSync(file, `
      import { describe, it } from "node:test"
      describe("a suite", () => {
        it("throws", () => { throw new Error("first line\\nsecond: line") })
        it("never ends", { timeout: 20 }, () => new Promise((done) => setTimeout(done, 500)))
        it("works", () => {})
      })`)
    const env = { ...process.env }
    delete env.NODE_TEST_CONTEXT
    const { stdout, status } = spawnSync(process.execPath, ["--test", "--test-reporter=tap", file], { encoding: "utf8", env })
    const count = new Count()
    count.node("tests/x", status, stdout)
    assert.equal(count.report(), `FAILED: tests/x: throws
  first line
  second: line
FAILED: tests/x: never ends
  test timed out after 20ms
FAILED: tests/x (2 failed)
1 passed, 2 failed, 0 skipped`)
  } finally {
    rmSync(dir, { recursive: true })
  }
})
