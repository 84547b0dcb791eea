// A scripted model behind OpenAI's chat completions API: the one thing in these tests that is not
// real, because no model runs offline.
//
// A script is a list of steps; a step is `{ text }`, `{ calls: [[tool, args], ...] }`, both, `{ chunks }` (a
// text in pieces, an event each), or a
// function `(request) => step` that may look at the messages so far. Which script runs is named by
// the user's prompt, as `script:NAME`; which step is next follows from the number of assistant
// messages since that prompt. So the server keeps no state, and parallel sessions and subagents do
// not disturb each other. A prompt that names none gets the script `*`, if there is one. A request
// without tools (OpenCode asks for a title) gets a fixed answer.

import { createServer } from "node:http"

const text = (content) =>
  typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("\n")

/** Starts the model on a free port of loopback. */
export async function startModel(scripts = {}, { title = "A title" } = {}) {
  const requests = []
  let serial = 0
  const server = createServer(async (req, res) => {
    let body = ""
    for await (const chunk of req) body += chunk
    if (req.method !== "POST") return res.writeHead(404).end()
    const request = JSON.parse(body)
    requests.push(request)
    const step = request.tools?.length ? await next(scripts, request) : { text: title }
    if (step.delayMs) await new Promise((r) => setTimeout(r, step.delayMs))
    const id = `chatcmpl-${++serial}`
    // OpenCode 1.0 asks for a title in one piece.
    if (!request.stream) {
      const choices = [{ index: 0, message: { role: "assistant", content: step.text ?? "" }, finish_reason: "stop" }]
      return res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ id, object: "chat.completion", created: 0, model: request.model, choices }))
    }
    res.writeHead(200, { "content-type": "text/event-stream" })
    const send = (delta, finish = null) =>
      res.write(
        `data: ${JSON.stringify({ id, object: "chat.completion.chunk", created: 0, model: request.model, choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`,
      )
    send({ role: "assistant", content: step.text ?? "" })
    for (const content of step.chunks ?? []) send({ content })
    for (const [index, [name, args]] of (step.calls ?? []).entries()) {
      send({
        tool_calls: [
          {
            index,
            id: `call_${serial}_${index}`,
            type: "function",
            function: { name, arguments: typeof args === "string" ? args : JSON.stringify(args) },
          },
        ],
      })
    }
    send({}, step.calls?.length ? "tool_calls" : "stop")
    const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 }
    res.write(`data: ${JSON.stringify({ id, object: "chat.completion.chunk", created: 0, model: request.model, choices: [], usage })}\n\n`)
    res.end("data: [DONE]\n\n")
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    scripts,
    requests,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  }
}

async function next(scripts, request) {
  const messages = request.messages
  const named = /.*script:([\w-]+)/s
  const at = messages.findLastIndex((m) => m.role === "user" && (scripts["*"] || named.test(text(m.content))))
  if (at < 0) return { text: "No script was named." }
  const name = text(messages[at].content).match(named)?.[1] ?? "*"
  const script = scripts[name]
  if (!script) return { text: `There is no script ${name}.` }
  const done = messages.slice(at + 1).filter((m) => m.role === "assistant").length
  const step = typeof script === "function" ? script : script[done]
  if (!step) return { text: "Done." }
  return typeof step === "function" ? await step(request, done) : step
}
