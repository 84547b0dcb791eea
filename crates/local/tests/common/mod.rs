//! The real program on a free port with a directory of its own, and a small client.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub struct Server {
    child: Child,
    pub port: u16,
    pub key: String,
    agent: ureq::Agent,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

impl Server {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub fn start_with(data: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_daytona-local"))
            .args([
                "serve",
                "--print",
                "json",
                "--test-controls",
                "--exit-with-parent",
                "--data",
            ])
            .arg(data)
            .args(more)
            .env("SECRET_OF_THE_HOST", "visible")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout"))
            .read_line(&mut line)
            .expect("a line");
        let said: Value =
            serde_json::from_str(&line).expect("the URL and key; is bwrap installed?");
        let url = said["url"].as_str().expect("a URL");
        let port = url
            .rsplit(':')
            .next()
            .and_then(|p| p.trim_end_matches("/api").parse().ok());
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)));
        Self {
            child,
            port: port.expect("a port"),
            key: said["apiKey"].as_str().expect("a key").to_owned(),
            agent: config.build().into(),
        }
    }

    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.try_send_text(method, path, body, headers)
    }

    pub fn try_send_text(
        &self,
        method: &str,
        path: &str,
        body: String,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let bearer = format!("Bearer {}", self.key);
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port));
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", bearer);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut reply = self.agent.run(request.body(body).expect("a request"))?;
        let status = reply.status().as_u16();
        Ok(Answer {
            status,
            headers: reply.headers().clone(),
            text: reply.body_mut().read_to_string()?,
        })
    }

    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, body, &[])
            .unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    pub fn create(&self, body: Value) -> String {
        let answer = self.send("POST", "/api/sandbox", Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    pub fn exec(&self, id: &str, command: &str) -> (i64, String) {
        let path = format!("/toolbox/{id}/process/execute");
        let answer = self.send(
            "POST",
            &path,
            Some(&json!({ "command": command, "timeout": 20 })),
        );
        assert_eq!(answer.status, 200, "{}", answer.text);
        let json = answer.json();
        (
            json["exitCode"].as_i64().expect("a code"),
            json["result"].as_str().expect("text").to_owned(),
        )
    }

    /// Waits for a state; 404 is `gone`.
    pub fn wait(&self, id: &str, want: &str) {
        until(want, || {
            let answer = self.send("GET", &format!("/api/sandbox/{id}"), None);
            if answer.status == 404 {
                want == "gone"
            } else {
                answer.json()["state"] == want
            }
        });
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    pub fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("ends").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
