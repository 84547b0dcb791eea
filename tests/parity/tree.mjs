// The tree that the table works on. Every group of rows gets a fresh copy.

export const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64")
const numbered = (count, text) => Array.from({ length: count }, (_, n) => text(n + 1)).join("")

export const tree = {
  "a.txt": "alpha\nbeta\ngamma\n",
  "empty.txt": "",
  "newline.txt": "\n",
  "noeol.txt": "one\ntwo",
  "crlf.txt": "one\r\ntwo\r\nthree\r\n",
  "mixed.txt": "one\r\ntwo\nthree\r\n",
  "cr.txt": "one\rtwo\rthree",
  "cr-everywhere.txt": "\r\ra\r\r\nb\n\rc\r\n\r",
  "half-at-end.txt": Buffer.from([0x61, 0x0a, 0x62, 0xe2, 0x82]),
  "separators.txt": "one\u2028two\u2029three\u0085four\vfive\ffix\n",
  "bom.txt": "\ufeffwith bom\nsecond\n",
  "only-bom.txt": "\ufeff",
  "long.txt": `${"x".repeat(2500)}\nshort\n`,
  "longer.txt": `${"é😀".repeat(1200)}\nshort\n`,
  "many.txt": numbered(2500, (n) => `line ${n}\n`),
  "wide.txt": numbered(900, (n) => `${n - 1} ${"w".repeat(120)}\n`),
  "emoji.txt": "grün 😀 日本\n",
  "src/main.rs": 'fn main() {\n    println!("hello");\n}\n',
  "src/lib.rs": "pub fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n\npub fn sub(a: i32, b: i32) -> i32 {\n    a - b\n}\n",
  "src/deep/er/x.ts": "export const x = 1\n",
  "src/deep/AGENTS.md": "Be deep.\n",
  "src/deep/note.md": "a note\n",
  "src/deep/er/more/AGENTS.md": "Be deeper.\n",
  "src/deep/er/more/y.ts": "export const y = 2\n",
  "claude/CLAUDE.md": "Be Claude.\n",
  "claude/z.ts": "z\n",
  ".hidden/secret.txt": "alpha hidden\n",
  ".dot": "alpha dot\n",
  ".gitignore": "ignored/\n*.log\n!keep.log\n",
  "sub/.gitignore": "local.txt\n",
  "sub/.ignore": "by-ignore.txt\n",
  "sub/by-ignore.txt": "alpha by ignore\n",
  "sub/keep.log": "alpha keep\n",
  "sp ace/fi le.txt": "alpha in space\n",
  "quote's.txt": "quoted\n",
  "br[a]ce.txt": "bracket\n",
  "dup.txt": "same\nsame\nother\n",
  "indent.py": "def f():\n    if x:\n        return 1\n    return 2\n",
  "tabs.go": "func f() {\n\tif x {\n\t\treturn 1\n\t}\n}\n",
  "dollar.txt": "price\n",
  "patch/one.txt": "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
  "patch/two.txt": "a\nb\nc\n",
  "patch/gone.txt": "bye\n",
  "patch/twice.txt": "x\ny\nx\nz\nx\n",
  "patch/blanks.txt": "  lead\ntrail  \n“quoted” – dash…\n",
  "icon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>\n",
  "run.sh": { text: "#!/bin/sh\necho ran\n", exec: true },
  "link.txt": { link: "a.txt" },
  "dirlink": { link: "src" },
  "broken": { link: "nowhere" },
  "binary.bin": Buffer.from([0, 1, 2, 3, 255, 254]),
  "text.bin": "just text\n",
  "latin.txt": Buffer.from([0x63, 0x61, 0x66, 0xe9, 0x0a]),
  "halves.txt": Buffer.from([0xe2, 0x82, 0x0a, 0xf0, 0x9f, 0x98, 0x0a, 0xc0, 0x80, 0x0a]),
  "nul.txt": Buffer.from("a\0b\n"),
  "control.txt": Buffer.from([1, 2, 3, 65, 66, 10]),
  "some-control.txt": Buffer.from([1, 65, 66, 67, 68, 69, 10]),
  "dot.png": png,
  "picture": png,
  "dot.jpg": png,
  "broken.png": "not a picture\n",
  "pixel.gif": Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64"),
  "doc.pdf": Buffer.from("%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"),
  "text.pdf": "not a pdf\n",
}

/** A large function, for edits that are not exact. */
export const code = `import os

class Store:
    def __init__(self, path):
        self.path = path
        self.items = {}
        self.dirty = False

    def load(self):
        if not os.path.exists(self.path):
            return None
        with open(self.path) as file:
            for line in file:
                key, value = line.split("=", 1)
                self.items[key] = value
        return self.items

    def save(self):
        with open(self.path, "w") as file:
            for key, value in self.items.items():
                file.write(f"{key}={value}\\n")
        self.dirty = False

    def get(self, key, default=None):
        return self.items.get(key, default)

    def set(self, key, value):
        self.items[key] = value
        self.dirty = True
`
