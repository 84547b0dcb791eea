//! Routes as lists. A router is made of a list, and requests are counted by it, so the two cannot
//! differ.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};

/// One route: what it is called in the official clients, and what answers it.
pub(crate) struct Route<S> {
    pub(crate) name: Name,
    handler: MethodRouter<S>,
}

/// Method and path of a route; `{name}` in the path stands for one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) method: &'static str,
    pub(crate) template: &'static str,
}

/// Makes a function for the routes of one method.
macro_rules! method {
    ($name:ident, $method:literal) => {
        pub(crate) fn $name<H, T, S>(template: &'static str, handler: H) -> Route<S>
        where
            H: Handler<T, S>,
            T: 'static,
            S: Clone + Send + Sync + 'static,
        {
            Route {
                name: Name {
                    method: $method,
                    template,
                },
                handler: routing::$name(handler),
            }
        }
    };
}

method!(get, "GET");
method!(post, "POST");
method!(put, "PUT");
method!(delete, "DELETE");

/// The router of a list.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(routes: Vec<Route<S>>) -> Router<S> {
    routes.into_iter().fold(Router::new(), |router, route| {
        router.route(route.name.template, route.handler)
    })
}

/// The names of a list.
pub(crate) fn names<S>(routes: Vec<Route<S>>) -> Vec<Name> {
    routes.into_iter().map(|route| route.name).collect()
}

/// The template of a request, if a route has it. A literal segment is better than a placeholder.
pub(crate) fn template(routes: &[Name], method: &str, path: &str) -> Option<&'static str> {
    routes
        .iter()
        .filter(|route| route.method == method && fits(route.template, path))
        .map(|route| route.template)
        .min_by_key(|template| template.matches('{').count())
}

pub(crate) fn fits(template: &str, path: &str) -> bool {
    let (mut a, mut b) = (template.split('/'), path.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(t), Some(p)) if t == p || t.starts_with('{') && !p.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::{Path, Request};
    use tower_service::Service as _;

    use super::{Route, get, names, post, router, template};

    fn routes() -> Vec<Route<()>> {
        vec![
            get("/a/{id}", async |Path(id): Path<String>| {
                format!("one {id}")
            }),
            post("/a/{id}", async || "made"),
            get(
                "/a/{idOrName}/b/{n}",
                async |Path((id, n)): Path<(String, u8)>| format!("{n} of {id}"),
            ),
            get("/a/all", async || "all"),
        ]
    }

    #[tokio::test]
    async fn what_answers_a_request_is_the_route_that_it_is_counted_under() {
        for (method, path, want, by) in [
            ("GET", "/a/x", "one x", Some("/a/{id}")),
            ("POST", "/a/x", "made", Some("/a/{id}")),
            ("GET", "/a/x/b/7", "7 of x", Some("/a/{idOrName}/b/{n}")),
            ("GET", "/a/all", "all", Some("/a/all")),
            ("GET", "/a", "", None),
            ("GET", "/a/", "", None),
            ("PUT", "/a/x", "", None),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).expect("a request");
            let Ok(reply) = router(routes()).with_state(()).call(request).await;
            let body = axum::body::to_bytes(reply.into_body(), 100).await;
            assert_eq!(body.expect("a body"), want, "{method} {path}");
            assert_eq!(
                template(&names(routes()), method, path),
                by,
                "{method} {path}"
            );
        }
    }
}
