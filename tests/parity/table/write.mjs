// `write`: whole files. A `read` or a look with `bash` follows where the text alone proves nothing;
// both trees are compared after every group in any case.

const write = (filePath, content) => ["write", { filePath, content }]
const look = (command) => ["bash", { command }]

export const groups = [
  {
    name: "files",
    rows: [
      write("new.txt", "fresh\n"),
      write("ROOT/absolute.txt", "absolute\n"),
      write("new/dir/file.txt", "deep"),
      write("new/dir/file.txt", "deep again"),
      write("src/../up.txt", "up\n"),
      write("a.txt", "replaced\n"),
      write("a.txt", "replaced\n"),
      write("bom.txt", "still bom\n"),
      write("bom.txt", "\ufefftwo marks become one\n"),
      write("new-bom.txt", "\ufeffnew bom\n"),
      write("only-bom.txt", ""),
      write("crlf.txt", "now lf\n"),
      write("empty-now.txt", ""),
      write("empty.txt", "no longer"),
      write("noeol.txt", "still none"),
      write("crlf-new.txt", "a\r\nb\r\n"),
      write("odd.txt", "nul \u0000 bell \u0007 😀 end"),
      write("sp ace/new file's \"name\".txt", "x\n"),
      write("latin.txt", "utf-8 now é\n"),
      write("run.sh", "#!/bin/sh\necho changed\n"),
      write("link.txt", "through the link\n"),
      write("dirlink/from-link.txt", "x\n"),
      write(".env", "KEY=1\n"),
      write("big.txt", "0123456789abcdef\n".repeat(20000)),
      look("cat a.txt; ls -l link.txt | cut -c1-10; od -An -tx1 odd.txt; stat -c '%a %n' run.sh new.txt new/dir"),
    ],
  },
  {
    name: "places that are taken",
    rows: [
      write("src", "x"),
      write("src/", "x"),
      write("fresh/", "x"),
      write("a.txt/", "x"),
      write("", "x"),
      write("ROOT", "x"),
      write("a.txt/below", "x"),
      write("broken", "makes the target\n"),
      look("cat nowhere; ls -l broken | cut -c1-10"),
    ],
  },
  { name: "half a character", tree: {}, rows: [write("half.txt", "half \ud800 end")] },
]
