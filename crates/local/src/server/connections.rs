//! Connections of a listening socket, and the requests on them.

use std::error::Error;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Answers every request of every connection. An error of `answer` ends its connection.
pub(super) async fn serve_connections<F, Answer, E>(listener: TcpListener, answer: F)
where
    F: Fn(Request) -> Answer + Clone + Send + 'static,
    Answer: Future<Output = Result<Response, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(answer.clone(), stream));
            }
            // Out of descriptors, most likely: let some connections end.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

async fn connection<F, Answer, E>(answer: F, stream: TcpStream)
where
    F: Fn(Request) -> Answer + Send + 'static,
    Answer: Future<Output = Result<Response, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let _ = stream.set_nodelay(true);
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            answer(request.map(Body::new))
        });
    let mut http = hyper::server::conn::http1::Builder::new();
    // An error here is a client that went away, or a fault that was asked for.
    let _ = http
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}
