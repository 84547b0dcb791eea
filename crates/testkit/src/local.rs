//! A `daytona-local` of one's own: free port, own data directory, gone with the value.

use crate::built::daytona_local;
use host::{Body, Host, HttpRequest};
use host_native::NativeHost;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server.
pub struct Local {
    child: Child,
    data: tempfile::TempDir,
    /// Base URL of the API.
    pub url: String,
    /// API key.
    pub key: String,
}

impl Local {
    /// Starts a server with test controls.
    pub fn start() -> Local {
        let data = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(daytona_local())
            .args([
                "serve",
                "--port",
                "0",
                "--test-controls",
                "--print",
                "json",
                "--exit-with-parent",
                "--data",
            ])
            .arg(data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("daytona-local starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("prints where it is");
        let value: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let text = |name: &str| value[name].as_str().expect("a string").to_string();
        Local {
            child,
            data,
            url: text("url"),
            key: text("apiKey"),
        }
    }

    /// Where it keeps its sandboxes.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Calls a test control, such as `POST /_test/faults`, and gives its JSON answer.
    pub async fn control(
        &self,
        method: &'static str,
        path: &str,
        body: serde_json::Value,
    ) -> serde_json::Value {
        let url = format!("{}{path}", self.url.trim_end_matches("/api"));
        let request = HttpRequest {
            method,
            url: url.clone(),
            headers: vec![("authorization".into(), format!("Bearer {}", self.key))],
            body: Body::Json(body.to_string()),
            timeout_ms: 60_000,
            max_bytes: 1 << 30,
            save_to: None,
        };
        // Not through a proxy that this process may have.
        let host = NativeHost::new([("no_proxy", "*")]);
        let response = host.http(request).await.expect("the control answers");
        let status = response.status;
        assert!((200..300).contains(&status), "{url}: {status}");
        serde_json::from_slice(&response.body).unwrap_or(serde_json::Value::Null)
    }

    /// Plants a fault: see the server's `--test-controls`.
    pub async fn fault(&self, method: &str, path: &str, times: i64, action: serde_json::Value) {
        let body = serde_json::json!({ "match": { "method": method, "path": path }, "times": times, "action": action });
        self.control("POST", "/_test/faults", body).await;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Closing its standard input asks it to stop its sandboxes and end.
        drop(self.child.stdin.take());
        // It lets open requests end, and this test's own may be among them: they cannot while the
        // test is in here.
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
