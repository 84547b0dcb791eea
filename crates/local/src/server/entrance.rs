//! The entrance: who may ask, and what is served behind it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::any;
use tower_service::Service as _;

use super::app::App;
use super::controls::{self, CloseConnection, Controls};
use super::{api, auth, proxy};
use crate::body::read_to_the_end;
use crate::installation::API_VERSION;
use crate::problem::Problem;
use crate::{route, unimplemented};

pub(super) struct Entrance {
    app: Arc<App>,
    served: Router,
    /// What is in front of what is served, and the router of its own routes.
    controls: Option<(Arc<Controls>, Router)>,
}

impl Entrance {
    pub(super) fn new(app: Arc<App>, controls: Option<Arc<Controls>>) -> Self {
        let api = route::router(api::routes())
            .fallback(api::unknown)
            .with_state(app.clone());
        let served = shaped(Router::new().nest("/api", api).fallback(api::unknown)).merge(
            Router::new()
                .route("/toolbox/", any(proxy::toolbox))
                .route("/toolbox/{*below}", any(proxy::toolbox))
                .with_state(app.clone()),
        );
        let controls = controls.map(|controls| {
            let own = Router::new().nest("/_test", controls::router(controls.clone()));
            (controls, shaped(own))
        });
        Self {
            app,
            served,
            controls,
        }
    }

    /// Answers one request.
    pub(super) async fn enter(&self, request: Request) -> Result<Response, CloseConnection> {
        let path = request.uri().path().to_owned();
        match auth::host(request.headers(), self.app.port) {
            auth::Host::Server => {}
            auth::Host::Preview(label) => {
                return Ok(proxy::preview(&self.app, &label, request).await);
            }
            auth::Host::Foreign => {
                let message = "this server answers to 127.0.0.1 and localhost only";
                return Ok(Problem::new(StatusCode::FORBIDDEN, message).api(&path));
            }
        }
        // No push channel: the SDK retries a few times and then polls.
        if path.starts_with("/api/socket.io") {
            return Ok(Problem::not_found("no event stream here, poll instead").api(&path));
        }
        let open = path == "/api/config";
        if !open && !auth::has_key(request.headers(), &self.app.key) {
            if path.starts_with("/toolbox/") {
                return Ok(proxy::no_access().proxy(&path));
            }
            return Ok(Problem::new(StatusCode::UNAUTHORIZED, "Invalid credentials").api(&path));
        }
        match &self.controls {
            Some((_, own)) if path.starts_with("/_test/") => {
                let Ok(reply) = own.clone().call(request).await;
                Ok(reply)
            }
            Some((controls, _)) => controls.apply(&self.served, request).await,
            None => {
                let Ok(reply) = self.served.clone().call(request).await;
                Ok(reply)
            }
        }
    }
}

/// Gives every reply of a router the form of the API's.
fn shaped(router: Router) -> Router {
    router.layer(middleware::from_fn(shape))
}

async fn shape(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let absent = path.strip_prefix("/api").and_then(|below| {
        let served = route::names(api::routes());
        unimplemented::refusal(
            &served,
            unimplemented::API,
            request.method().as_str(),
            below,
        )
    });
    let mut reply = match absent {
        Some(problem) => {
            drop(read_to_the_end(request).await);
            problem.api(&path)
        }
        None => api::shaped(next.run(request).await, &path),
    };
    reply.headers_mut().insert(
        "x-daytona-api-version",
        HeaderValue::from_static(API_VERSION),
    );
    reply
}
