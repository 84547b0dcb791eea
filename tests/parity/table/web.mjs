// `webfetch`, from a server that both sides reach; and arguments of `websearch`, which needs the
// internet for more.

const fetch = (path, more = {}) => ["webfetch", { url: `WEB${path}`, ...more }]

export const groups = [
  {
    name: "pages",
    together: true,
    tree: {},
    rows: [
      fetch("/html"),
      fetch("/html", { format: "markdown" }),
      fetch("/html", { format: "text" }),
      fetch("/html", { format: "html" }),
      fetch("/rich", { format: "text" }),
      fetch("/rich", { format: "html" }),
      [...fetch("/rich"), "web-markdown"],
      ...["/text", "/json", "/untyped", "/png", "/svg", "/empty", "/redirect", "/challenge"].map((path) => fetch(path)),
      fetch("/latin", { format: "html" }),
    ],
  },
  {
    name: "what cannot be fetched",
    together: true,
    tree: {},
    rows: [
      ...["/nothing", "/broken", "/loop", "/large"].map((path) => fetch(path)),
      fetch("/silent", { timeout: 1 }),
      ["webfetch", { url: "ftp://example.org/" }],
      ["webfetch", { url: "example.org" }],
      ["webfetch", { url: "http://" }],
      ["webfetch", { url: "http://127.0.0.1:2/" }],
    ],
  },
  {
    name: "long pages",
    tree: {},
    rows: [fetch("/long"), ["grep", { pattern: "line", path: "SAVED" }], fetch("/wide")],
  },
  {
    name: "wrong arguments",
    together: true,
    tree: {},
    rows: [
      ["webfetch", {}],
      ["webfetch", { url: 5 }],
      fetch("/text", { format: "pdf" }),
      fetch("/text", { format: 3 }),
      fetch("/text", { format: null }),
      fetch("/text", { timeout: "2" }),
      fetch("/text", { timeout: null }),
      ["websearch", {}],
      ["websearch", { query: "x", numResults: "8" }],
      ["websearch", { query: "x", livecrawl: "always" }],
      ["websearch", { query: "x", type: null }],
      ["websearch", { query: "x", contextMaxCharacters: null }],
    ],
  },
]
