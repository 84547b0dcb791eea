//! One HTTP exchange over a stream that is already connected, upgrades (WebSocket) included.
//!
//! Both proxies are this function: the server to a sandbox's toolbox over a unix socket, and the
//! toolbox to a port inside the sandbox over TCP. Bodies stream both ways and nothing is retried.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// Sends `request` over `stream` and returns the reply; a 101 splices the two connections.
///
/// `in_use` is dropped when the exchange is over: the body is sent, or the spliced connections end.
pub(crate) async fn exchange<S, G>(
    stream: S,
    mut request: Request,
    in_use: G,
) -> Result<Response, hyper::Error>
where
    G: Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());

    let upgrade = request.headers().get(header::UPGRADE).cloned();
    strip_hop_headers(request.headers_mut());
    let client = upgrade.map(|protocol| {
        let headers = request.headers_mut();
        headers.insert(
            header::CONNECTION,
            "upgrade".parse().expect("a header value"),
        );
        headers.insert(header::UPGRADE, protocol);
        hyper::upgrade::on(&mut request)
    });

    let mut reply = sender.send_request(request).await?;
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        let inner = hyper::upgrade::on(&mut reply);
        if let Some(client) = client {
            tokio::spawn(async move {
                if let (Ok(client), Ok(inner)) = (client.await, inner.await) {
                    let (mut client, mut inner) = (TokioIo::new(client), TokioIo::new(inner));
                    let _ = copy_bidirectional(&mut client, &mut inner).await;
                }
                drop(in_use);
            });
        }
        return Ok(reply.map(Body::new));
    }
    strip_hop_headers(reply.headers_mut());
    Ok(reply.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &in_use;
            frame
        }))
    }))
}

/// Removes the headers that belong to one connection and not to the message.
fn strip_hop_headers(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}
