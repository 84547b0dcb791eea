// What is said where no core is: without the key and without passwords.

import assert from "node:assert/strict"
import { test } from "node:test"
import { message } from "../dist/shared/told.js"

test("an error of the runtime shows neither a key of either package nor a password", () => {
  Object.assign(process.env, { DAYTONA_API_KEY: " dtn_0123456789 ", DAYTONA_JWT_TOKEN: "jwt_0123456789", OPENCODE_SYNC_API_KEY: "osk_0123456789" })
  for (const [thrown, expected] of [
    [new Error("header 'Bearer dtn_0123456789'"), "header 'Bearer [hidden]'"],
    [new Error("jwt_0123456789, osk_0123456789"), "[hidden], [hidden]"],
    ["proxy http://me:pass@host:1/a@b", "proxy http://[hidden]@host:1/a@b"],
    [new Error("mail me@example.org, https://host/a"), "mail me@example.org, https://host/a"],
  ]) {
    assert.equal(message(thrown), expected)
  }
  Object.assign(process.env, { DAYTONA_API_KEY: "", DAYTONA_JWT_TOKEN: "", OPENCODE_SYNC_API_KEY: "" })
  assert.equal(message(new Error("as it is")), "as it is")
})
