//! Who answered: the service, or the proxy in front of it.

use daytona::{Client, CreateSandbox, Error, Settings};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use testkit::{TestHost, run};

/// A proxy that answers every `CONNECT` with this line, and what it was asked; none is one that nobody
/// reaches.
fn proxy(line: Option<&'static str>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (send, asked) = std::sync::mpsc::channel();
    if let Some(line) = line {
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut buffer = [0; 4096];
                let length = stream.read(&mut buffer).unwrap_or_default();
                let _ = send.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
                let _ = stream.write_all(format!("{line}\r\n\r\n").as_bytes());
            }
        });
    }
    (address, asked)
}

#[test]
fn what_a_proxy_answers_had_no_effect_and_what_came_from_behind_it_may_have() {
    const FORM: &str = r#"{"statusCode":503,"message":"x"}"#;
    let https = "https://api.example/api";
    for (url, status, body, line, expected, no_effect, passes, asks) in [
        (
            https,
            503,
            "",
            Some("HTTP/1.1 503 No"),
            "that HTTPS_PROXY names answers 503",
            true,
            true,
            1,
        ),
        (
            https,
            502,
            "<html>",
            Some("HTTP/1.1 502 No"),
            "out of order, or not reach",
            true,
            true,
            1,
        ),
        (
            https,
            403,
            "denied",
            Some("HTTP/1.0 403 No"),
            "does not allow this",
            true,
            false,
            1,
        ),
        (
            https,
            407,
            "",
            Some("HTTP/1.1 407 Who"),
            "put user and password into HTTPS_PROXY",
            true,
            false,
            0,
        ),
        (
            "http://api.example/api",
            407,
            "",
            None,
            "put user and password into HTTP_PROXY",
            true,
            false,
            0,
        ),
        // It connects, so somebody behind it answered.
        (
            https,
            503,
            "",
            Some("HTTP/1.1 200 Connected"),
            "Daytona is unavailable (503",
            false,
            true,
            1,
        ),
        (
            https,
            503,
            FORM,
            Some("HTTP/1.1 503 No"),
            "Daytona is unavailable (503",
            false,
            true,
            0,
        ),
        // Nobody can tell.
        (
            https,
            503,
            "",
            Some("what?"),
            "Daytona is unavailable (503",
            false,
            true,
            1,
        ),
        (
            https,
            503,
            "",
            None,
            "Daytona is unavailable (503",
            false,
            true,
            0,
        ),
        (
            "http://api.example/api",
            503,
            "",
            None,
            "Daytona is unavailable (503",
            false,
            true,
            0,
        ),
        (
            "https://exempt.example/api",
            503,
            "",
            None,
            "Daytona is unavailable (503",
            false,
            true,
            0,
        ),
    ] {
        let (address, asked) = proxy(line);
        let named = format!("http://me:p%40ss@{address}");
        let host = Arc::new(TestHost::new(&[
            ("HTTPS_PROXY", &named),
            ("HTTP_PROXY", &named),
            ("NO_PROXY", "exempt.example"),
        ]));
        host.answer_with(move |_| body);
        host.status.set(Some(status));
        let settings = Settings {
            api_url: url.into(),
            api_key: "k".into(),
            organization: None,
        };
        let error = run(async {
            let client = Client::new(host, settings);
            client
                .create(&CreateSandbox::default())
                .await
                .expect_err("refused")
        });
        let text = error.to_string();
        assert!(text.contains(expected), "{url} {status} {line:?}: {text}");
        assert_eq!(error.had_no_effect(), no_effect, "{text}");
        assert_eq!(error.is_unanswered(), !no_effect, "{text}");
        assert_eq!(error.is_transient(), passes, "{text}");
        assert!(!matches!(error, Error::Proxy { ref address, .. } if address.contains('@')));
        let asked: Vec<String> = asked.try_iter().collect();
        assert_eq!(asked.len(), asks, "{url} {status} {line:?}");
        for ask in asked {
            assert!(
                ask.starts_with("CONNECT api.example:443 HTTP/1.1\r\n"),
                "{ask}"
            );
            // `me:p@ss`
            assert!(
                ask.contains("\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n"),
                "{ask}"
            );
        }
    }
}
