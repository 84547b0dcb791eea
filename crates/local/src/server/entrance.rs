//! The entrance: who may ask, and what is served behind it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::any;
use tower_service::Service as _;

use super::app::App;
use super::controls::{self, CloseConnection, Controls};
use super::events::{self, Events};
use super::{api, auth, preview, proxy, signed_files};
use crate::body::read_to_the_end;
use crate::installation::API_VERSION;
use crate::problem::Problem;
use crate::route::Name;
use crate::{route, unimplemented};

pub(super) struct Entrance {
    app: Arc<App>,
    served: Router,
    events: Events,
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
            events: Events::serve(app.clone()),
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
                return Ok(preview::at_name(&self.app, &label, request).await);
            }
            auth::Host::Foreign => {
                return Ok(auth::foreign().api(&path));
            }
        }
        // It has the key in its first message.
        if path.starts_with(events::PATH) {
            return Ok(self.events.answer(request).await);
        }
        let open = path == "/api/config"
            || auth::has_key(request.headers(), &self.app.key)
            || signed_files::is_signed(&self.app, &request);
        if !open {
            if path.starts_with("/toolbox/") {
                return Ok(proxy::refusal(&request));
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

/// The routes below `/api`.
static SERVED: LazyLock<Vec<Name>> = LazyLock::new(api::route_names);

/// Gives every reply of a router the form of the API's.
fn shaped(router: Router) -> Router {
    router.layer(middleware::from_fn(shape))
}

async fn shape(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let absent = path.strip_prefix("/api").and_then(|below| {
        unimplemented::refusal(
            &SERVED,
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
