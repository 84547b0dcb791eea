//! Files that come in as forms.

mod common;

use common::Server;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

#[test]
fn a_bulk_upload_says_what_failed_and_keeps_the_rest() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let upload = |fields: &[(&str, &str)]| {
        let mut body = String::new();
        for (name, content) in fields {
            let file = if name.ends_with(".file") {
                "; filename=\"x\""
            } else {
                ""
            };
            body += &format!(
                "--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
            );
        }
        body += "--edge--\r\n";
        let kind = [("content-type", "multipart/form-data; boundary=edge")];
        let path = format!("/toolbox/{id}/files/bulk-upload");
        server
            .try_send_text("POST", &path, body, &kind)
            .expect("an answer")
    };
    server.exec(&id, "mkdir taken; echo x > file");
    let answer = upload(&[
        ("files[0].path", "one"),
        ("files[0].file", "1"),
        ("files[1].path", "taken"),
        ("files[1].file", "2"),
        ("files[2].file", "no path"),
        ("files[3].path", "file/below"),
        ("files[3].file", "3"),
        ("files[4].path", "deep/two"),
        ("files[4].file", "4"),
    ]);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({
            "errors": [
                "taken: is a directory",
                "files[2].file: missing path",
                "file/below: not a directory",
            ],
            "files": [{ "path": "one", "bytes": 1 }, { "path": "deep/two", "bytes": 1 }],
        })
    );
    assert_eq!(
        server.exec(&id, "cat one deep/two file; ls taken"),
        (0, "14x\n".to_owned())
    );
    let answer = upload(&[("files[0].path", "taken"), ("files[0].file", "2")]);
    assert_eq!(
        (answer.status, &answer.json()["files"]),
        (400, &serde_json::Value::Null)
    );
}

/// The official client sends a file as a form in chunks. What ends the body may come after the answer is
/// known, here as text behind the form, and the answer must not be lost with it.
#[test]
fn an_upload_whose_body_goes_on_behind_the_form_is_answered() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    for (route, field) in [
        ("upload", "file"),
        ("upload-v2", "file"),
        ("bulk-upload", "0.path"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connects");
        let head = format!(
            "POST /toolbox/{id}/files/{route}?path=up HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
             Authorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary=edge\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            server.port, server.key
        );
        let form = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\nup\r\n--edge--\r\n"
        );
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let behind = chunk(&"x".repeat(64 * 1024)).repeat(100);
        let body = format!("{head}{}{behind}0\r\n\r\n", chunk(&form));
        let sent = stream.write_all(body.as_bytes());
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .expect("an answer");
        assert_eq!(answer, "HTTP/1.1 200 OK\r\n", "{route}");
        sent.expect("takes all");
    }
}
