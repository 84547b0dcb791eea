// What the comparison of both sides notices.

import assert from "node:assert/strict"
import { test } from "node:test"
import { differences } from "./equal.mjs"

const tokens = { input: 7, output: 2, reasoning: 1, cache: { read: 3, write: 0 } }
const conversation = {
  info: { id: "ses_1", title: "A title", directory: "/p", time: { created: 1, updated: 9 }, tokens, cost: 0.5 },
  messages: [
    { info: { id: "msg_1", role: "user", time: { created: 2 } }, parts: [{ type: "text", text: "hi" }, { type: "text", text: "a file", synthetic: true }] },
    { info: { id: "msg_2", role: "assistant", time: { created: 3 }, tokens }, parts: [{ type: "tool", tool: "bash", state: { output: "one" } }, { type: "text", text: "hello" }] },
  ],
}
const stored = {
  externalId: "ses_1",
  title: "A title",
  projectPath: "/p",
  createdAt: 1,
  promptTokens: 10,
  completionTokens: 3,
  cost: 0.5,
  messages: [
    { externalId: "msg_1", role: "user", createdAt: 2, textContent: "hi", parts: [{ type: "text", content: "hi" }] },
    { externalId: "msg_2", role: "assistant", createdAt: 3, textContent: "hello", promptTokens: 10, completionTokens: 3, parts: [{ type: "tool-call", content: { name: "bash" } }, { type: "tool-result", content: { result: "one" } }, { type: "text", content: "hello" }] },
  ],
}
const changed = (change) => {
  const copy = structuredClone(stored)
  change(copy)
  return copy
}

test("both sides are the same, and a message that was emptied is gone", () => {
  assert.deepEqual(differences([conversation], [stored]), [])
  assert.deepEqual(differences([conversation], [changed(({ messages }) => messages.push({ externalId: "msg_3", role: "user", createdAt: 4, textContent: "", parts: [] }))]), [])
})

test("whatever is not the same is said", () => {
  for (const [what, sessions] of [
    ["nothing is there", []],
    ["a session is there twice", [stored, stored]],
    ["another title", [changed((session) => (session.title = "Untitled"))]],
    ["another date", [changed((session) => (session.createdAt = 5))]],
    ["no cost", [changed((session) => (session.cost = 0))]],
    ["other tokens", [changed((session) => (session.promptTokens = 7))]],
    ["a message is missing", [changed(({ messages }) => messages.pop())]],
    ["a message too many", [changed(({ messages }) => messages.push({ ...messages[0], externalId: "msg_0" }))]],
    ["another order", [changed(({ messages }) => messages.reverse())]],
    ["another text", [changed(({ messages }) => (messages[0].textContent = "hi a file"))]],
    ["another role", [changed(({ messages }) => (messages[0].role = "assistant"))]],
    ["the date of a message", [changed(({ messages }) => (messages[1].createdAt = 9))]],
    ["the tokens of a message", [changed(({ messages }) => (messages[1].completionTokens = 2))]],
    ["a tool's output", [changed(({ messages }) => (messages[1].parts[1].content.result = ""))]],
    ["a tool's call", [changed(({ messages }) => messages[1].parts.splice(0, 2))]],
  ]) {
    assert.notDeepEqual(differences([conversation], sessions), [], what)
  }
})
