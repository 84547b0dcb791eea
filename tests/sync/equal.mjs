// What OpenCode says of its sessions, against what a store has of them: text, order, dates, tokens and cost.
// It shares no code with what is tested, and takes no answer of the package for granted.

const prompt = (tokens) => tokens.input + tokens.cache.read + tokens.cache.write
const completion = (tokens) => tokens.output + tokens.reasoning
const COMPACTION = "[compaction]"

/** What a message says: what was typed or answered, and how it failed. */
function textOf({ info, parts }) {
  const texts = parts.flatMap((part) => {
    if (part.type === "text" && !part.synthetic && !part.ignored && part.text) return [part.text]
    if (part.type === "subtask") return [`[@${part.agent}] ${part.prompt}`]
    return part.type === "compaction" ? [COMPACTION] : []
  })
  if (info.error) texts.push(`[${info.error.name}${info.error.data?.message ? `: ${info.error.data.message}` : ""}]`)
  return texts.join("\n\n")
}

const toolsOf = ({ parts }) => parts.filter(({ type }) => type === "tool").map(({ tool, state }) => ({ name: tool, result: state.output ?? state.error }))

/** A fork has messages that are older than itself. They are counted where they come from, and so nothing twice. */
function sums(info, messages) {
  const own = messages.filter((message) => message.info.time.created >= info.time.created)
  if (own.length === messages.length) return { prompt: prompt(info.tokens), completion: completion(info.tokens), cost: info.cost }
  const add = (of) => own.reduce((sum, message) => sum + of(message.info), 0)
  return { prompt: add(({ tokens }) => (tokens ? prompt(tokens) : 0)), completion: add(({ tokens }) => (tokens ? completion(tokens) : 0)), cost: add(({ cost }) => cost ?? 0) }
}

/** A session as OpenCode has it, in words that both sides know. */
export function ofOpenCode({ info, messages }) {
  const shown = messages.map((message) => ({ message, text: textOf(message), tools: toolsOf(message) })).filter(({ text, tools }) => text || tools.length)
  return {
    id: info.id,
    title: info.parentID && !info.title.endsWith("subagent)") ? `Subagent: ${info.title}` : info.title,
    directory: info.directory,
    created: info.time.created,
    ...sums(info, messages),
    messages: shown.map(({ message: { info: { id, role, time, tokens } }, text, tools }) => {
      const counted = time.created >= info.time.created ? tokens : undefined
      return { id, role, created: time.created, text, tools, prompt: counted && prompt(counted), completion: counted && completion(counted) }
    }),
  }
}

/** A session as a store has it; a message that was emptied is gone. */
export function ofStore(session) {
  const tools = (parts) => {
    const calls = []
    for (const { type, content } of parts) {
      if (type === "tool-call") calls.push({ name: content.name, result: undefined })
      if (type === "tool-result") calls.at(-1).result = content.result
    }
    return calls
  }
  return {
    id: session.externalId,
    title: session.title,
    directory: session.projectPath,
    created: session.createdAt,
    prompt: session.promptTokens,
    completion: session.completionTokens,
    cost: session.cost,
    messages: session.messages
      .filter(({ textContent, parts }) => textContent || parts.length)
      .map((message) => ({
        id: message.externalId,
        role: message.role,
        created: message.createdAt,
        text: message.textContent ?? "",
        tools: tools(message.parts),
        prompt: message.promptTokens,
        completion: message.completionTokens,
      })),
  }
}

/** What is not equal, a sentence each. `conversations` is all that OpenCode has, `sessions` all that the store has. */
export function differences(conversations, sessions) {
  const found = []
  const stored = new Map(sessions.map((session) => [session.externalId, ofStore(session)]))
  if (stored.size !== sessions.length) found.push("a session is in the store twice")
  const compare = (where, is, must) => {
    if (JSON.stringify(is) !== JSON.stringify(must)) found.push(`${where}: the store has ${JSON.stringify(is)}, OpenCode ${JSON.stringify(must)}`)
  }
  for (const conversation of conversations) {
    const must = ofOpenCode(conversation)
    const is = stored.get(must.id)
    if (!is) {
      found.push(`${must.id} (${must.title}) is not in the store`)
      continue
    }
    const { messages: theirs, ...own } = must
    const { messages, ...session } = is
    compare(must.id, session, own)
    compare(`${must.id}, its messages in their order`, messages.map(({ id }) => id), theirs.map(({ id }) => id))
    const byId = new Map(messages.map((message) => [message.id, message]))
    for (const message of theirs) if (byId.has(message.id)) compare(message.id, byId.get(message.id), message)
  }
  return found
}
