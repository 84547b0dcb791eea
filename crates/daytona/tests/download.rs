//! A download against a server that breaks off, on the real machine's files.

use daytona::*;
use host::Host;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use testkit::{TestHost, run};

/// Answers one connection after the other with these bytes.
fn serve(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn download(answers: &'static [&'static str], max_bytes: u64) -> (Result<()>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("saved");
    let host = Arc::new(TestHost::new(&[]));
    host.fast.set(true);
    let settings = Settings {
        api_url: "http://unused".into(),
        api_key: "key".into(),
        organization: None,
    };
    let toolbox = Toolbox {
        id: "id".into(),
        proxy_url: serve(answers),
    };
    let client = Client::new(host as Arc<dyn Host>, settings);
    let save_to = path.to_str().expect("UTF-8");
    let result = run(client.download(&toolbox, "/tmp/a", save_to, 0..max_bytes, max_bytes));
    (result, std::fs::read_to_string(path).unwrap_or_default())
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nlonger t";
const BUSY: &str = "HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy";
const MISSING: &str = "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n";
const LOST: &str = "HTTP/1.1 404 No\r\ncontent-length: 18\r\n\r\n{\"statusCode\":404}";

#[test]
fn a_download_is_saved() {
    let (result, saved) = download(&[WHOLE], 100);
    result.expect("a download");
    assert_eq!(saved, "whole");
}

#[test]
fn a_download_that_fails_says_in_which_way() {
    let (result, _) = download(&[CUT], 100);
    assert!(matches!(result, Err(Error::Network(_))), "{result:?}");
    let (result, saved) = download(&[BUSY], 100);
    assert!(matches!(result, Err(Error::Toolbox { status: 503, .. })));
    assert_eq!(saved, "");
    let (result, saved) = download(&[LOST], 100);
    assert!(matches!(result, Err(Error::Toolbox { status: 404, .. })));
    assert_eq!(saved, "");
}

#[test]
fn a_missing_file_is_an_answer_and_nothing_is_saved() {
    let (result, saved) = download(&[MISSING], 100);
    assert!(matches!(result, Err(Error::Refused { status: 404, .. })));
    assert_eq!(saved, "");
}

#[test]
fn a_download_that_is_too_large_is_given_up() {
    let (result, _) = download(&[WHOLE], 4);
    let error = result.expect_err("too large");
    assert!(error.to_string().contains("larger than 4 bytes"), "{error}");
}

#[test]
fn a_part_goes_to_its_place_and_what_came_before_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("saved");
    let host = Arc::new(TestHost::new(&[]));
    let settings = Settings {
        api_url: "http://unused".into(),
        api_key: "key".into(),
        organization: None,
    };
    let toolbox = Toolbox {
        id: "id".into(),
        proxy_url: serve(&[
            "HTTP/1.1 206 OK\r\ncontent-length: 4\r\n\r\nfour",
            "HTTP/1.1 206 OK\r\ncontent-length: 9\r\n\r\nfi",
            "HTTP/1.1 206 OK\r\ncontent-length: 4\r\n\r\nfive",
        ]),
    };
    let client = Client::new(host.clone() as Arc<dyn Host>, settings);
    let save_to = path.to_str().expect("UTF-8");
    let part =
        |part: std::ops::Range<u64>| run(client.download(&toolbox, "/tmp/a", save_to, part, 4));
    part(0..4).expect("the first");
    part(4..8).expect_err("it is cut");
    part(4..8).expect("the second");
    assert_eq!(std::fs::read_to_string(&path).expect("saved"), "fourfive");
    let asked = host.requests();
    let ranges = asked.iter().map(|request| &request.headers);
    let ranges: Vec<&str> = ranges
        .filter_map(|headers| headers.iter().find(|(name, _)| name == "range"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(ranges, ["bytes=0-3", "bytes=4-7", "bytes=4-7"]);
}
