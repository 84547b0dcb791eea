// The smallest MCP server: one tool, `say`, and one prompt, `recite`, over standard input and output.

import { createInterface } from "node:readline"

// The name of the tool may be given.
const tool = process.argv[2] ?? "say"
const answer = (id, result) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id, result })}\n`)

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line)
  if (id === undefined) return
  if (method === "initialize") {
    answer(id, { protocolVersion: params.protocolVersion, capabilities: { tools: {}, prompts: {} }, serverInfo: { name: "echo", version: "1" } })
  } else if (method === "tools/list") {
    const inputSchema = { type: "object", properties: { text: { type: "string" } }, required: ["text"] }
    answer(id, { tools: [{ name: tool, description: "Says it", inputSchema }] })
  } else if (method === "tools/call") {
    answer(id, { content: [{ type: "text", text: `you said ${params.arguments.text}` }] })
  } else if (method === "prompts/list") {
    answer(id, { prompts: [{ name: "recite", description: "Recites it", arguments: [{ name: "text", required: true }] }] })
  } else if (method === "prompts/get") {
    answer(id, { messages: [{ role: "user", content: { type: "text", text: `recite ${params.arguments.text}` } }] })
  } else {
    answer(id, {})
  }
})
