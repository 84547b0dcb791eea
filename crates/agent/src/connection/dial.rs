//! One try to reach the sandbox's end: a GET that becomes a WebSocket.
//!
//! The request is made by the program's own HTTP client, so certificates, proxies and names are its.

use async_trait::async_trait;
use carrier::{SECRET_HEADER, Secret};
use reqwest::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{StatusCode, Upgraded};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

/// How long a try may take.
const MAX_DIAL: Duration = Duration::from_secs(20);

/// Where the sandbox's end is, at this moment.
#[derive(Clone)]
pub struct Address {
    /// `http` or `https`.
    pub url: String,
    /// What the preview asks for, such as Daytona's token.
    pub headers: Vec<(String, String)>,
}

/// Says where the sandbox's end is; it is asked before each try.
#[async_trait]
pub trait Locate: Send + Sync + 'static {
    /// The address.
    async fn locate(&self) -> Result<Address, Box<dyn std::error::Error + Send + Sync>>;
}

/// Why a try has failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is not known.
    #[error("The address of the sandbox's port could not be had: {0}.")]
    Unlocated(Box<dyn std::error::Error + Send + Sync>),
    /// Something answered, and it was no WebSocket. 401 and 307 are a preview's for a token that it does not know, 403 and 404
    /// may be a proxy's, 403 is also the answer of the sandbox's end to a wrong secret, and 502 a preview's while nobody listens.
    #[error(
        "The sandbox's port answered {status} instead of opening a connection. Ask the API about the sandbox."
    )]
    Refused {
        /// The status.
        status: u16,
    },
    /// Something answered as a WebSocket does, and is none.
    #[error(
        "What answered at the sandbox's port does not speak WebSocket. See what listens there."
    )]
    NoWebSocket,
    /// Nothing answered.
    #[error("The sandbox's port could not be reached: {}.", words(.0))]
    Unreachable(reqwest::Error),
    /// Nothing answered in time.
    #[error("The sandbox's port has not answered for {} seconds.", MAX_DIAL.as_secs())]
    TimedOut,
}

/// Dials once.
pub(super) async fn dial(
    client: &reqwest::Client,
    address: Address,
    secret: &Secret,
) -> Result<Upgraded, DialError> {
    let dialed = timeout(MAX_DIAL, upgrade(client, address, secret)).await;
    dialed.unwrap_or(Err(DialError::TimedOut))
}

async fn upgrade(
    client: &reqwest::Client,
    address: Address,
    secret: &Secret,
) -> Result<Upgraded, DialError> {
    let key = generate_key();
    let mut request = client
        .get(address.url)
        .version(reqwest::Version::HTTP_11)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SECRET_HEADER, secret.expose());
    for (name, value) in address.headers {
        request = request.header(name, value);
    }
    // An address has a token where it is a link, and an error may be shown.
    let unreachable = |error: reqwest::Error| DialError::Unreachable(error.without_url());
    let response = request.send().await.map_err(unreachable)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(DialError::Refused {
            status: response.status().as_u16(),
        });
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accepted
        .is_none_or(|accepted| accepted.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err(DialError::NoWebSocket);
    }
    response.upgrade().await.map_err(unreachable)
}

/// An error with all that is behind it: the outermost says little.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
