//! A gateway on a port, and a client that speaks to it byte by byte.

use agent::outward::{
    Allowance, Gateway, Grant, Limits, ModelKind, ModelRoute, Refused, Repository, Secret,
    Settings, Usage,
};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The key that no client may ever see.
pub(crate) const KEY: &str = "sk-the-real-key";
/// As many requests as a sandbox of these tests may have at once.
pub(crate) const AT_ONCE: usize = 2;

/// Waits for something that comes on any machine, however slow.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(120);
    let waited = tokio::time::timeout(limit, future).await;
    waited.expect("what the test waits for comes")
}

/// An allowance that a test sets, and that says what was used.
pub(crate) struct Purse {
    pub(crate) refused: Mutex<Option<Refused>>,
    used: mpsc::UnboundedSender<Usage>,
}

impl Allowance for Purse {
    fn may_start(&self) -> Result<(), Refused> {
        self.refused.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn used(&self, usage: Usage) {
        let _ = self.used.send(usage);
    }
}

/// A gateway on a port.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) purse: Arc<Purse>,
    pub(crate) used: mpsc::UnboundedReceiver<Usage>,
}

impl World {
    pub(crate) async fn new(settings: Settings, repositories: Vec<Repository>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, used) = mpsc::unbounded_channel();
        let purse = Arc::new(Purse {
            refused: Mutex::new(None),
            used: sender,
        });
        // Proxies of whoever runs the tests have no part in them.
        let client = reqwest::Client::builder().no_proxy();
        let gateway = Arc::new(Gateway::new(settings, client).unwrap());
        let grant = Arc::new(Grant::new(repositories, purse.clone(), AT_ONCE));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (gateway, grant) = (Arc::clone(&gateway), Arc::clone(&grant));
                tokio::spawn(async move { gateway.serve(stream, &grant).await });
            }
        });
        World {
            address,
            purse,
            used,
        }
    }

    /// A gateway with a provider of each kind, all at one address.
    pub(crate) async fn with_models(provider: SocketAddr, limits: Limits) -> Self {
        let route = |name: &str, kind, path: &str| ModelRoute {
            name: name.into(),
            kind,
            base_url: format!("http://{provider}{path}"),
            key: Secret::new(KEY),
            models: vec!["small".into(), "large".into()],
        };
        let models = vec![
            route("like-openai", ModelKind::OpenAiCompatible, "/v1"),
            route("anthropic", ModelKind::Anthropic, ""),
            route("google", ModelKind::Google, ""),
            route("opencode", ModelKind::Zen, "/zen/v1"),
        ];
        let settings = Settings {
            models,
            limits,
            ..Settings::default()
        };
        World::new(settings, Vec::new()).await
    }

    /// Opens a connection and sends these bytes.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> Client {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        Client::new(stream)
    }

    /// The whole answer to a request.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await.answer().await
    }
}

/// A request as its bytes. Each header ends with a line break.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// A request to the model `small` in OpenAI's form.
pub(crate) fn chat() -> String {
    post(
        "/model/like-openai/chat/completions",
        "content-type: application/json\r\n",
        r#"{"model":"small","messages":[]}"#,
    )
}

/// One end of a connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    seen: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Client {
            stream,
            seen: Vec::new(),
        }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until this text has come.
    pub(crate) async fn until(&mut self, text: &str) {
        let has = |seen: &[u8]| seen.windows(text.len()).any(|part| part == text.as_bytes());
        while !has(&self.seen) {
            let length = soon(self.stream.read_buf(&mut self.seen)).await.unwrap();
            assert!(
                length > 0,
                "no {text} in {:?}",
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// All that comes until the connection ends.
    pub(crate) async fn answer(mut self) -> Answer {
        // A connection that is reset has ended, too.
        let _ = soon(self.stream.read_to_end(&mut self.seen)).await;
        Answer::of(&self.seen)
    }
}

/// An answer. One that was cut has what had come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let head = head.to_ascii_lowercase();
        let (body, is_whole) = match head.contains("transfer-encoding: chunked") {
            true => pieces(body),
            false => (body.to_string(), true),
        };
        Answer {
            status: status.unwrap_or_default(),
            head,
            body,
            is_whole,
        }
    }

    /// The sentence of an error of a model.
    pub(crate) fn message(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["message"].as_str().unwrap_or_default().into()
    }
}

/// A chunked body, and whether it has an end.
fn pieces(mut text: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        body += &rest[..size.min(rest.len())];
        text = rest.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}
