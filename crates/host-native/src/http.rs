//! HTTP: one client with a pool of connections.
//!
//! Only HTTP/1.1, as the plugins' host has it: one request on a connection at a time, so that a
//! connection that is lost takes one request with it.

mod failure;
mod saving;
mod trust;
mod upload;

use crate::environment::{Environment, variable};
use failure::{NoAddress, failed, not_made};
use host::{Body, HttpError, HttpRequest, HttpResponse, proxy};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use saving::Saving;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::OnceCell;

/// How long a connection may take to come about: with it, a machine that is not there is told from a
/// service that does not answer.
const CONNECT: Duration = Duration::from_secs(10);
/// Less than what servers keep a connection that nothing goes through: Node's, which may be the least of them,
/// close it after five seconds (20.20, November 2026). A request on one that just closes is lost.
const IDLE: Duration = Duration::from_secs(4);
/// A first line that does not come.
const FIRST_LINE: Duration = Duration::from_secs(5);
/// No first line is longer.
const LONGEST_LINE: u64 = 8192;

/// The client, made with the first request.
pub(crate) struct Http {
    env: Environment,
    made: OnceCell<Made>,
}

struct Made {
    client: reqwest::Client,
    tls: Arc<rustls::ClientConfig>,
}

impl Http {
    pub(crate) fn new(env: &Environment) -> Self {
        Http {
            env: env.clone(),
            made: OnceCell::new(),
        }
    }

    async fn made(&self) -> Result<&Made, String> {
        self.made
            .get_or_try_init(|| async {
                let env = self.env.clone();
                // Certificates are read from disk.
                let made = tokio::task::spawn_blocking(move || Made::new(env)).await;
                made.unwrap_or_else(|error| Err(error.to_string()))
            })
            .await
    }

    /// The proxy that requests to a URL go through.
    fn proxy(&self, url: &str) -> Option<proxy::Proxy> {
        proxy::of(url, |name| variable(&self.env, name))
    }

    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (url, timeout_ms) = (request.url.clone(), request.timeout_ms);
        let limit = Duration::from_millis(timeout_ms);
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(response) => response,
            Err(_) => Err(HttpError::Timeout { url, timeout_ms }),
        }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = request.url;
        let (max_bytes, save_to) = (request.max_bytes, request.save_to);
        let made = (self.made().await).map_err(|reason| not_made(&url, reason))?;
        let method = reqwest::Method::from_bytes(request.method.as_bytes());
        let method = method.map_err(|error| not_made(&url, error))?;
        let mut builder = made.client.request(method, &url);
        for (name, value) in request.headers {
            let value = header(&value).ok_or_else(|| {
                not_made(
                    &url,
                    format!("the header {name} has a letter that cannot be sent"),
                )
            })?;
            builder = builder.header(name, value);
        }
        builder = match request.body {
            Body::Empty => builder,
            Body::Json(text) => {
                let kind = reqwest::header::HeaderValue::from_static("application/json");
                let mut headers = reqwest::header::HeaderMap::new();
                headers.insert(reqwest::header::CONTENT_TYPE, kind);
                builder.headers(headers).body(text)
            }
            Body::Multipart(parts) => {
                let form = upload::form(parts).await;
                builder.multipart(form.map_err(|error| not_made(&url, error))?)
            }
        };
        let failed = |error| failed(error, &url, self.proxy(&url));
        let mut response = builder.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), text_of(value)))
            .collect();
        let save_to = save_to.filter(|_| response.status().is_success());
        let mut to = Saving::open(save_to, &url).await?;
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            size += chunk.len();
            if size > max_bytes {
                return Err(HttpError::TooLarge { url, max_bytes });
            }
            to.take(&chunk, &url).await?;
        }
        let body = to.end(&url).await?;
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
    }

    pub(crate) async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String> {
        let line = async {
            let stream = tokio::net::TcpStream::connect(address).await.ok()?;
            if !tls {
                return first_line_of(stream, text).await;
            }
            let host = address.rsplit_once(':')?.0.trim_matches(['[', ']']);
            let name = rustls::pki_types::ServerName::try_from(host.to_string()).ok()?;
            let connector = tokio_rustls::TlsConnector::from(self.made().await.ok()?.tls.clone());
            first_line_of(connector.connect(name, stream).await.ok()?, text).await
        };
        tokio::time::timeout(FIRST_LINE, line).await.ok()?
    }
}

impl Made {
    fn new(env: Environment) -> Result<Made, String> {
        let tls = trust::config(&env).map_err(|error| error.to_string())?;
        let client = builder(env, tls.clone())
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| failure::words(&error))?;
        Ok(Made {
            client,
            tls: Arc::new(tls),
        })
    }
}

/// A client with the certificates and proxies of an environment. Certificates are read from disk.
pub(crate) fn client(env: &Environment) -> Result<reqwest::ClientBuilder, rustls::Error> {
    Ok(builder(env.clone(), trust::config(env)?))
}

fn builder(env: Environment, tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    let proxies =
        move |url: &reqwest::Url| through(&proxy::of(url.as_str(), |name| variable(&env, name))?);
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .proxy(reqwest::Proxy::custom(proxies))
        .dns_resolver(Arc::new(Resolver))
        .connect_timeout(CONNECT)
        .http1_only()
}

/// A proxy as a URL.
fn through(proxy: &proxy::Proxy) -> Option<reqwest::Url> {
    let scheme = if proxy.tls { "https" } else { "http" };
    let mut url = reqwest::Url::parse(&format!("{scheme}://{}", proxy.address)).ok()?;
    if let Some(login) = &proxy.login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        url.set_username(user).ok()?;
        url.set_password(Some(password)).ok()?;
    }
    Some(url)
}

/// The system's resolver; its errors can be told from those of a connection.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|error| NoAddress(error.to_string()))?;
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A text as a header's value. JavaScript takes no letter that is beyond Latin-1, such as the invisible ones
/// that come with a key from a web page, and Bun sends the others in UTF-8.
fn header(text: &str) -> Option<reqwest::header::HeaderValue> {
    let is_sent = text.chars().all(|letter| u8::try_from(letter).is_ok());
    reqwest::header::HeaderValue::from_str(text)
        .ok()
        .filter(|_| is_sent)
}

fn text_of(value: &reqwest::header::HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

async fn first_line_of(stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Option<String> {
    let mut stream = BufReader::new(stream);
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut line = Vec::new();
    let mut bounded = stream.take(LONGEST_LINE);
    bounded.read_until(b'\n', &mut line).await.ok()?;
    // Each byte is a letter: nothing says that it is UTF-8.
    let line: String = line.into_iter().map(char::from).collect();
    let line = line.trim_end_matches(['\r', '\n']);
    (!line.is_empty()).then(|| line.to_string())
}
