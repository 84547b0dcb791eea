// What stands between OpenCode and Daytona in tests: a server with a certificate that nobody has signed,
// and proxies.

import { createServer, request as ask } from "node:http"
import { createServer as createTlsServer } from "node:https"

// Made for these tests and for nothing else: localhost and 127.0.0.1, until 2120.
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWc3+71RFSAIc8pY/
dB/l979QxUGb9atfPNQ/NJRlHxihRANCAART+WdYJhwAawmwSuQEkU/TxIrNa2YT
/1mznZdVHs3NoN1I+4t7oBRYUOmQW1Vhn6IyjYeYQrx/gQN8HjL3vXbf
-----END PRIVATE KEY-----
`

/** The certificate, as a file for NODE_EXTRA_CA_CERTS. */
export const cert = `-----BEGIN CERTIFICATE-----
MIIBmjCCAT+gAwIBAgIBATAKBggqhkjOPQQDAjAtMSswKQYDVQQDDCJhIHRlc3Qg
b2Ygb3BlbmNvZGUtZGF5dG9uYS1zYW5kYm94MCAXDTIwMDEwMTAwMDAwMFoYDzIx
MjAwMTAxMDAwMDAwWjAtMSswKQYDVQQDDCJhIHRlc3Qgb2Ygb3BlbmNvZGUtZGF5
dG9uYS1zYW5kYm94MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEU/lnWCYcAGsJ
sErkBJFP08SKzWtmE/9Zs52XVR7NzaDdSPuLe6AUWFDpkFtVYZ+iMo2HmEK8f4ED
fB4y971236NOMEwwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMA8GA1UdEwEB
/wQFMAMBAf8wHQYDVR0OBBYEFMrkwsKIb3GEruhRTlnUBCFE9rq3MAoGCCqGSM49
BAMCA0kAMEYCIQCoDw6N2bnGPujvfy/TiUUsjfCgVcL/KlEiU8niTyZo6wIhAJ3B
7E+wLv4R/CFcmdNu3K9OImDA25tXGnzkR4KqTdF8
-----END CERTIFICATE-----
`

const listening = (server) =>
  new Promise((done) => server.listen(0, "127.0.0.1", () => done({ port: server.address().port, close: () => new Promise((closed) => (server.closeAllConnections(), server.close(closed))) })))

/** A server with TLS that hands every request on to `url`. */
export async function startTls(url) {
  const { hostname, port } = new URL(url)
  const requests = []
  const server = createTlsServer({ key, cert }, (request, response) => {
    requests.push(`${request.method} ${request.url}`)
    const { method, url: path } = request
    const headers = { ...request.headers, host: `${hostname}:${port}` }
    const onward = ask({ hostname, port, path, method, headers }, (answer) => answer.pipe(response.writeHead(answer.statusCode, answer.headers)))
    onward.on("error", () => response.destroy())
    request.pipe(onward)
  })
  server.on("tlsClientError", () => {})
  return { requests, ...(await listening(server)) }
}

/** A proxy that passes nothing on and answers everything with this status. */
export async function startProxy(status) {
  const requests = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    response.writeHead(status).end()
  })
  server.on("connect", (request, socket) => {
    requests.push(`CONNECT ${request.url}`)
    socket.on("error", () => {})
    socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`)
  })
  return { requests, ...(await listening(server)) }
}
