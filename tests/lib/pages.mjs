// A web server on loopback with pages of every kind, for the tools that fetch.

import { createServer } from "node:http"

const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64")
const simple = `<!doctype html><html><head><title>T &amp; t</title><style>p{}</style><script>var x = "<p>no</p>"</script></head><body><h1>Head</h1><p>Some <b>bold</b>, <em>em</em> and <code>code</code>.</p><ul><li>one</li><li>two <ul><li>sub</li></ul></li></ul><ol><li>a</li><li>b</li></ol><pre><code class="language-js">let a = 1\nlet b</code></pre><a href="/x" title="t">link</a> <img src="a.png" alt="alt"><blockquote>quoted<br>line</blockquote><p>1. not a list * _ [x]</p></body></html>`
const rich = "<h2>Rich</h2><hr><table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table><noscript>none</noscript><p>a &lt; b</p><textarea><b>raw</b></textarea><iframe src=x>in</iframe>"

const pages = {
  "/html": ["text/html; charset=utf-8", simple],
  "/rich": ["text/html", rich],
  "/text": ["text/plain", "\ufeffplain é\n"],
  "/json": ["application/json", '{"a": 1}'],
  "/untyped": [undefined, "no type"],
  "/latin": ["text/html; charset=iso-8859-1", Buffer.from([0x3c, 0x70, 0x3e, 0xe9])],
  "/png": ["image/png", png],
  "/svg": ["image/svg+xml", "<svg/>"],
  "/large": ["text/plain", "x".repeat(6_000_000)],
  "/long": ["text/plain", "a line of text\n".repeat(3_000)],
  "/wide": ["text/plain", "w".repeat(60_000)],
}

/** Starts it on a free port; `seen` lists the paths that were asked for. */
export async function startPages() {
  const seen = []
  const server = createServer((request, response) => {
    seen.push(request.url)
    const send = (code, type, body, headers = {}) => response.writeHead(code, { ...(type ? { "content-type": type } : {}), ...headers }).end(body)
    const page = pages[request.url]
    if (page) return send(200, ...page)
    if (request.url === "/redirect") return send(302, undefined, "", { location: "/text" })
    if (request.url === "/loop") return send(302, undefined, "", { location: "/loop" })
    if (request.url === "/empty") return send(204)
    if (request.url === "/broken") return send(500, "text/plain", "no")
    if (request.url === "/challenge") {
      const known = request.headers["user-agent"] === "opencode"
      return known ? send(200, "text/plain", "passed") : send(403, "text/plain", "no", { "cf-mitigated": "challenge" })
    }
    if (request.url === "/silent") return
    send(404, "text/plain", "nothing here")
  })
  await new Promise((done) => server.listen(0, "127.0.0.1", done))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    close: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  }
}
