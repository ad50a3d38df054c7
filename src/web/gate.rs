//! Every request passes the gate: it learns who asks, holds back who asks too often, lets no other site's page write, and
//! puts the headers of safety on every answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::client::{Client, Peer};
use super::metrics::Reason;
use super::{api, page};

/// What every answer says: nothing is loaded from elsewhere, nothing inline runs, nothing is guessed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors ";

/// How many connections may be open for one to be kept after its answer.
const KEPT_MAX: u64 = 4096;

/// The policy of the site: with `origins` its pages may be framed there.
pub(super) fn content_policy(origins: &[String]) -> Result<HeaderValue, header::InvalidHeaderValue> {
    let ancestors = if origins.is_empty() { "'none'".to_string() } else { format!("'self' {}", origins.join(" ")) };
    HeaderValue::try_from(format!("{POLICY}{ancestors}"))
}

/// The middleware around every route.
pub(super) async fn pass(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let asked = Asked { is_api: request.uri().path().starts_with("/api/"), shape: page::Shape::of(request.uri()) };
    let for_monitors = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let answer = match request.extensions().get::<Peer>().copied() {
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Peer(_)) if !names_one_host(&request) => {
            let says = "The request does not say for which host it is.";
            refuse(&app, asked, StatusCode::BAD_REQUEST, Reason::BadRequest, says)
        }
        Some(Peer(peer)) => {
            let client = Client::of(peer, request.headers(), &app.trusted_proxies);
            request.extensions_mut().insert(client);
            let granted = if for_monitors { Ok(()) } else { app.rate.take(client.address, Instant::now()) };
            match granted {
                Ok(()) if request.method() == Method::POST && is_of_elsewhere(request.headers()) => {
                    app.metrics.refused(Reason::OtherOrigin);
                    let says = "This vote came from a page of another site, so it was not taken.";
                    refuse(&app, asked, StatusCode::FORBIDDEN, Reason::OtherOrigin, says)
                }
                Ok(()) => next.run(request).await,
                Err(seconds) => {
                    app.metrics.refused(Reason::TooMany);
                    let says = "Too many requests came from your address. Please wait a moment.";
                    let mut answer = refuse(&app, asked, StatusCode::TOO_MANY_REQUESTS, Reason::TooMany, says);
                    retry_after(&mut answer, seconds);
                    answer
                }
            }
        }
    };
    app.metrics.answered(answer.status().as_u16());
    with_headers(&app, answer)
}

/// Tells when to come back.
pub(super) fn retry_after(answer: &mut Response, seconds: u64) {
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
}

/// In which form an answer is wanted.
#[derive(Clone, Copy)]
struct Asked {
    is_api: bool,
    shape: page::Shape,
}

fn refuse(app: &App, asked: Asked, status: StatusCode, reason: Reason, says: &str) -> Response {
    match asked.is_api {
        true => api::failure(status, reason.name(), says),
        false => page::failure(app, status, says, asked.shape.is_embedded()),
    }
}

/// Whether a request has the one `Host` that HTTP/1.1 asks for (RFC 9112, section 3.2): with two, a proxy in front and the
/// check of its origin might not mean the same one.
fn names_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11
}

/// Whether a browser says that another site's page sends this. What is no browser's says nothing; a form of ours is
/// held to saying where it is from in `form`.
fn is_of_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text(HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => site != "same-origin",
        (None, Some(origin)) => !is_own(origin, headers),
        (None, None) => false,
    }
}

/// Whether a browser says that a page of ours sends this.
pub(super) fn is_of_own_page(headers: &HeaderMap) -> bool {
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    says && !is_of_elsewhere(headers)
}

/// The scheme is the proxy's; the host is what the browser asked for.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

fn with_headers(app: &App, mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, app.content_policy.clone());
    if !app.is_framed {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A connection that is kept has buffers of its own, and a spike comes on more of them than memory has room for.
    if app.metrics.connections.load(Ordering::Relaxed) > KEPT_MAX {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_page_of_another_site_is_told_apart() {
        let own = ("host", "polls.example:8080");
        for (given, own_page, elsewhere) in [
            (&[own, ("origin", "https://polls.example:8080")][..], true, false),
            (&[own, ("origin", "https://polls.example")], false, true),
            (&[own, ("origin", "null")], false, true),
            (&[own, ("sec-fetch-site", "same-origin"), ("origin", "null")], true, false),
            (&[own, ("sec-fetch-site", "same-site")], false, true),
            (&[own, ("sec-fetch-site", "none")], false, true),
            (&[own], false, false),
        ] {
            let headers = headers(given);
            assert_eq!((is_of_own_page(&headers), is_of_elsewhere(&headers)), (own_page, elsewhere), "{given:?}");
        }
    }
}
