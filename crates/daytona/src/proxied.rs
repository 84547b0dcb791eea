//! Answers that a proxy gave in the service's place.
//!
//! A request over TLS goes through a proxy only after the proxy has agreed to connect (`CONNECT`). If it
//! does not, the runtime hands its refusal on as if it were the response (Bun 1.3, November 2026), and
//! nothing was sent to the service. The two look alike, so the proxy is asked once more: what it says
//! to the same `CONNECT` decides.

use crate::error::Error;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use host::{Host, HttpResponse, proxy};

/// The error, if a proxy of the environment answered and not the service.
pub(crate) async fn by_proxy(host: &dyn Host, url: &str, response: &HttpResponse) -> Option<Error> {
    if response.status < 300 {
        return None;
    }
    let proxy = host.proxy(url)?;
    let (name, port) = proxy::authority(url)?;
    let status = match response.status {
        // Nobody but a proxy asks for this.
        407 => 407,
        _ if !url.starts_with("https:") || is_in_form(response) => return None,
        _ => {
            let place = format!("{name}:{port}");
            let login = proxy.login.as_deref().map(|login| {
                let login = STANDARD.encode(login);
                format!("Proxy-Authorization: Basic {login}\r\n")
            });
            let ask = format!(
                "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{}\r\n",
                login.unwrap_or_default()
            );
            let line = host.first_line(&proxy.address, proxy.tls, &ask).await?;
            let status: u16 = line.split(' ').nth(1)?.trim().parse().ok()?;
            // If it connects, the answer came from behind it.
            Some(status).filter(|status| *status >= 300)?
        }
    };
    Some(Error::Proxy {
        status,
        variable: proxy.variable,
        address: proxy.address,
        host: name.into(),
    })
}

/// True if the body is an object in JSON, as all of the service's answers are.
fn is_in_form(response: &HttpResponse) -> bool {
    let body: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
    body.is_some_and(|body| body.is_object())
}
