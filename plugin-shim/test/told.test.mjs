// What is said where no core is: without the key and without passwords.

import assert from "node:assert/strict"
import { test } from "node:test"
import { message } from "../../dist/told.js"

test("an error of the runtime shows neither the key nor a password", () => {
  process.env.DAYTONA_API_KEY = " dtn_0123456789 "
  for (const [thrown, expected] of [
    [new Error("header 'Bearer dtn_0123456789'"), "header 'Bearer [hidden]'"],
    ["proxy http://me:pass@host:1/a@b", "proxy http://[hidden]@host:1/a@b"],
    [new Error("mail me@example.org, https://host/a"), "mail me@example.org, https://host/a"],
  ]) {
    assert.equal(message(thrown), expected)
  }
  process.env.DAYTONA_API_KEY = ""
  assert.equal(message(new Error("as it is")), "as it is")
})
