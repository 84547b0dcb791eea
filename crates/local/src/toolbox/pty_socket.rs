//! One client at a terminal: its WebSocket, from the handshake to the close frame.
//!
//! Text that the server sends is control messages, binary is what the terminal shows. Everything
//! that a client sends is typed. A client that does not keep up is dropped. One deviation: the
//! terminal waits a moment for it before that, as a busy machine makes everybody slow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::mutex::lock;
use crate::options::Daemon;

/// A client that wants to be told the exit code in a message of its own.
const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";
const ENVS: &str = "X-Daytona-Pty-Envs~";
const SDK_VERSION: &str = "X-Daytona-SDK-Version~";
/// The most that one message may type.
const LARGEST_INPUT: usize = 64 * 1024;
/// Messages that may wait until the terminal takes them.
const TYPED_AHEAD: usize = 1024;
/// Messages that may wait for a client to read them.
const UNREAD: usize = 256;
/// How long a terminal waits for a client with too much unread.
const TERMINAL_WAITS: Duration = Duration::from_secs(3);
/// How long one message may take, and how long a client may take to close.
const PATIENCE: Duration = Duration::from_secs(10);

/// The subprotocols that a client offers, which are parameters in disguise.
pub(super) struct Offer(Vec<String>);

impl Offer {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let offered = headers.get_all("sec-websocket-protocol");
        let offered = offered.iter().filter_map(|value| value.to_str().ok());
        let names = offered.flat_map(|value| value.split(','));
        Self(names.map(|name| name.trim().to_owned()).collect())
    }

    /// The one that the handshake confirms: clients give up if none of theirs is. Before
    /// `create-connect` the daemon knew only the one with a version in it.
    fn confirmed(&self, daemon: Daemon) -> Option<&String> {
        let starting = |prefix| self.0.iter().find(|name| name.starts_with(prefix));
        match daemon {
            Daemon::V0_190 => starting(SDK_VERSION),
            Daemon::V0_216 => starting(EXIT_CONTROL).or(self.0.first()),
        }
    }

    /// The environment that is asked for.
    pub(super) fn envs(&self) -> Result<Option<BTreeMap<String, String>>, String> {
        let Some(text) = self.0.iter().find_map(|name| name.strip_prefix(ENVS)) else {
            return Ok(None);
        };
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let envs = json.and_then(|json| serde_json::from_slice(&json).ok());
        envs.map(Some)
            .ok_or_else(|| format!("{ENVS} must be followed by base64url of an object of strings"))
    }

    /// Answers the handshake.
    pub(super) fn accept<F, S>(
        self,
        upgrade: WebSocketUpgrade,
        daemon: Daemon,
        serve: S,
    ) -> Response
    where
        S: FnOnce(WebSocket, Self) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let upgrade = match self.confirmed(daemon).cloned() {
            Some(name) => upgrade.protocols([name]),
            None => upgrade,
        };
        upgrade.on_upgrade(move |socket| serve(socket, self))
    }
}

/// Whoever watches a terminal and types.
pub(super) struct Audience {
    clients: Mutex<Vec<Client>>,
    /// What clients type, in the order in which it came.
    typed: mpsc::Sender<Bytes>,
    exit_code: OnceLock<i32>,
}

#[derive(Clone)]
struct Client {
    queue: mpsc::Sender<Message>,
    dropped: Arc<Notify>,
}

/// A client's own end of that.
pub(super) struct Attached {
    audience: Arc<Audience>,
    queue: mpsc::Receiver<Message>,
    dropped: Arc<Notify>,
    told_exit: bool,
}

impl Audience {
    /// Nobody yet, and what they will type.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (typed, receiver) = mpsc::channel(TYPED_AHEAD);
        let audience = Self {
            clients: Mutex::default(),
            typed,
            exit_code: OnceLock::new(),
        };
        (Arc::new(audience), receiver)
    }

    /// Adds a client, unless the shell has ended.
    pub(super) fn attach(self: &Arc<Self>, offer: &Offer) -> Result<Attached, String> {
        let (sender, queue) = mpsc::channel(UNREAD);
        let connected = control(json!({ "status": "connected" }));
        // The first message of an empty queue.
        let _ = sender.try_send(connected);
        let dropped = Arc::new(Notify::new());
        let client = Client {
            queue: sender,
            dropped: dropped.clone(),
        };
        let mut clients = lock(&self.clients);
        // Looked at under the lock: the end is set before the list is cleared.
        if self.exit_code.get().is_some() {
            return Err("PTY session has terminated and is no longer available".to_owned());
        }
        clients.push(client);
        Ok(Attached {
            audience: self.clone(),
            queue,
            dropped,
            told_exit: offer.0.iter().any(|name| name == EXIT_CONTROL),
        })
    }

    /// Shows `text` to everyone, and drops who does not keep up.
    pub(super) async fn show(&self, text: &Bytes) {
        let mut full = Vec::new();
        lock(&self.clients).retain(|client| {
            match client.queue.try_send(Message::Binary(text.clone())) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    full.push(client.clone());
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
        for client in full {
            let sent = client.queue.send(Message::Binary(text.clone()));
            if tokio::time::timeout(TERMINAL_WAITS, sent).await.is_err() {
                client.dropped.notify_one();
                lock(&self.clients).retain(|other| !other.queue.same_channel(&client.queue));
            }
        }
    }

    /// Lets everyone go once they have read what there was.
    pub(super) fn end(&self, exit_code: i32) {
        let _ = self.exit_code.set(exit_code);
        lock(&self.clients).clear();
    }
}

fn control(mut fields: Value) -> Message {
    fields["type"] = json!("control");
    Message::text(fields.to_string())
}

/// Why a client and a terminal part.
enum Parting {
    /// The client went away.
    Gone,
    /// The client typed too much at once.
    TooLarge,
    /// The client does not keep up.
    Slow,
    /// The shell ended.
    Over,
}

/// Serves a client to the end; one that could not attach is told why.
pub(super) async fn serve(socket: WebSocket, attached: Result<Attached, String>) {
    let (mut sink, mut stream) = socket.split();
    let close = match attached {
        Err(why) => {
            let message = control(json!({ "status": "error", "error": why }));
            if sink.send(message).await.is_err() {
                return;
            }
            None
        }
        Ok(mut attached) => {
            let typed = attached.audience.typed.clone();
            let parting = tokio::select! {
                parting = read(&mut stream, &typed) => parting,
                parting = write(&mut sink, &mut attached) => parting,
            };
            match parting {
                Parting::Gone => return,
                Parting::TooLarge => Some(frame(close_code::SIZE, "message too big")),
                Parting::Slow => Some(frame(close_code::POLICY, "slow consumer")),
                Parting::Over => farewell(&mut sink, &attached).await,
            }
        }
    };
    let closing = async {
        let _ = sink.send(Message::Close(close)).await;
        // A connection on which something is unread is reset when it closes, and the close frame
        // may be lost with it.
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = tokio::time::timeout(PATIENCE, closing).await;
}

async fn read(stream: &mut SplitStream<WebSocket>, typed: &mpsc::Sender<Bytes>) -> Parting {
    while let Some(Ok(message)) = stream.next().await {
        let text = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return Parting::Gone,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if text.len() > LARGEST_INPUT {
            return Parting::TooLarge;
        }
        // Once the shell has ended nobody takes it, and the other half is about to say so.
        let _ = typed.send(text).await;
    }
    Parting::Gone
}

async fn write(sink: &mut SplitSink<WebSocket, Message>, attached: &mut Attached) -> Parting {
    let dropped = attached.dropped.clone();
    let sending = async {
        while let Some(message) = attached.queue.recv().await {
            match tokio::time::timeout(PATIENCE, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Parting::Gone,
                Err(_) => return Parting::Slow,
            }
        }
        Parting::Over
    };
    tokio::select! {
        biased;
        () = dropped.notified() => Parting::Slow,
        parting = sending => parting,
    }
}

/// Says the exit code to whoever wants it as a message, and makes the close frame that has it, too.
async fn farewell(
    sink: &mut SplitSink<WebSocket, Message>,
    attached: &Attached,
) -> Option<CloseFrame> {
    let code = attached.audience.exit_code.get().copied().unwrap_or(1);
    let mut said = json!({ "exitCode": code });
    if code != 0 {
        said["exitReason"] = json!(reason(code));
    }
    let close = match code {
        0 => close_code::NORMAL,
        _ => close_code::ERROR,
    };
    let close = frame(close, &said.to_string());
    if attached.told_exit {
        said["status"] = json!("exited");
        let _ = tokio::time::timeout(PATIENCE, sink.send(control(said))).await;
    }
    Some(close)
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

fn reason(code: i32) -> String {
    match code {
        130 => "Ctrl+C".to_owned(),
        137 => "SIGKILL".to_owned(),
        143 => "SIGTERM".to_owned(),
        129.. => format!("signal {}", code - 128),
        _ => "non-zero exit".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_confirms_one_of_the_offered_subprotocols() {
        let (old, new) = (Daemon::V0_190, Daemon::V0_216);
        for (daemon, offered, want) in [
            (new, "", None),
            (new, EXIT_CONTROL, Some(EXIT_CONTROL)),
            (
                new,
                "X-Daytona-Pty-Envs~e30, X-Daytona-Pty-Exit-Control",
                Some(EXIT_CONTROL),
            ),
            (new, "other", Some("other")),
            (old, EXIT_CONTROL, None),
            (
                old,
                "a, X-Daytona-SDK-Version~0.150.0",
                Some("X-Daytona-SDK-Version~0.150.0"),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if !offered.is_empty() {
                headers.insert("sec-websocket-protocol", offered.parse().expect("a value"));
            }
            let offer = Offer::of(&headers);
            let confirmed = offer.confirmed(daemon).map(String::as_str);
            assert_eq!(confirmed, want, "{offered}");
        }
    }

    #[test]
    fn an_environment_that_cannot_be_read_is_an_error() {
        for (offered, is_fine) in [
            ("e30", true),
            ("eyJBIjoiYiJ9", true),
            ("e", false),
            ("W10", false),
        ] {
            let offer = Offer(vec![format!("{ENVS}{offered}")]);
            assert_eq!(offer.envs().is_ok(), is_fine, "{offered}");
        }
        assert_eq!(Offer(Vec::new()).envs(), Ok(None));
    }
}
