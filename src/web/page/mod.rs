//! The pages. All text is escaped by the templates; nothing is inline that the content policy would have to allow, so
//! lengths are attributes of SVG and never styles.

mod chart;
mod poll;
mod results;
mod text;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::slug::Slug;

use super::api::is_open;
use super::app::{App, Name};
use super::assets::{ICON_PATH, SCRIPT_PATH, STYLE_PATH};
use super::client::Client;
use super::desk::{Seen, View};
use super::gate::retry_after;
use super::reader::Busy;

pub(super) use poll::advice;
pub(super) use results::Notice;
pub(super) use text::http_date;

/// What is said of a name that no poll has.
pub(super) const NO_SUCH_POLL: &str = "There is no poll at this address.";

/// How a page is asked for. Whatever else a link has gathered on its way is passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    embedded: bool,
    voted: bool,
}

impl Shape {
    /// Reads it out of an address.
    pub(super) fn of(uri: &Uri) -> Shape {
        let mut shape = Shape::default();
        for (key, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match key.as_ref() {
                "embed" => shape.embedded = value == "1",
                "voted" => shape.voted = value == "1",
                _ => {}
            }
        }
        shape
    }

    /// Whether it is to stand in a frame of an article.
    pub(super) fn is_embedded(self) -> bool {
        self.embedded
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Shape {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Shape, Infallible> {
        Ok(Shape::of(&parts.uri))
    }
}

/// A whole page around its content.
fn page(app: &App, title: &str, embedded: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) @if title != app.title { " – " (app.title) } }
                link rel="stylesheet" href=(*STYLE_PATH);
                link rel="icon" type="image/svg+xml" href=(*ICON_PATH);
                script src=(*SCRIPT_PATH) defer {}
            }
            body class=[embedded.then_some("framed")] {
                @if !embedded {
                    a class="skip" href="#content" { "Skip to content" }
                    header class="masthead" { p { a href="/" { (app.title) } } }
                }
                main id="content" { (content) }
                @if !embedded {
                    footer { p { "An open vote among readers. It does not claim to represent the public at large." } }
                }
            }
        }
    }
}

fn html_of(markup: Markup) -> Bytes {
    Bytes::from(markup.into_string())
}

/// A page that says what went wrong.
pub(super) fn failure(app: &App, status: StatusCode, says: &str, embedded: bool) -> Response {
    let content = html! {
        p class="kicker" { "Error " (status.as_u16()) }
        h1 { (says) }
        @if !embedded { p { a href="/" { "See all open polls" } } }
    };
    (status, Html(page(app, says, embedded, &content).into_string())).into_response()
}

fn busy(app: &App, embedded: bool) -> Response {
    let says = "This page cannot be shown just now. Please try again in a moment.";
    let mut answer = failure(app, StatusCode::SERVICE_UNAVAILABLE, says, embedded);
    retry_after(&mut answer, 2);
    answer
}

/// The page of a poll's form; `advice` says what was wrong with the form just sent.
pub(super) fn vote_page(app: &App, view: &View, advice: Option<&str>, embedded: bool) -> Html<Bytes> {
    // A screen reader says the title first.
    let title = match advice {
        Some(_) => format!("Not voted yet: {}", view.poll.question),
        None => view.poll.question.clone(),
    };
    let content = html! { (text::old_notice(view.as_of_ms)) (poll::form(&view.poll, advice, embedded)) };
    Html(html_of(page(app, &title, embedded, &content)))
}

/// The page of a poll's results. Without a notice it is the same for all, and made once while what it shows is fresh.
pub(super) fn results_page(app: &App, view: &View, notice: Notice, embedded: bool) -> Html<Bytes> {
    let make = || {
        let title = format!("{}: {}", notice.title(), view.poll.question);
        html_of(page(app, &title, embedded, &results::content(view, notice, embedded)))
    };
    match (notice, view.pages.get(usize::from(embedded))) {
        (Notice::None, Some(kept)) if view.is_fresh() => Html(kept.get_or_init(make).clone()),
        _ => Html(make()),
    }
}

/// `GET /`: the open polls.
pub(super) async fn index(State(app): State<Arc<App>>) -> Response {
    let Ok(list) = app.desk.list().await else { return busy(&app, false) };
    let open: Vec<_> = list.polls.iter().rev().filter(|poll| is_open(poll)).collect();
    let notice = if list.is_whole { text::old_notice } else { text::part_notice };
    let content = html! { (notice(list.as_of_ms)) (poll::list(&open)) };
    Html(page(&app, &app.title, false, &content).into_string()).into_response()
}

async fn view_of(app: &App, name: &str, embedded: bool) -> Result<Arc<View>, Response> {
    let unknown = || failure(app, StatusCode::NOT_FOUND, NO_SUCH_POLL, embedded);
    let slug = Slug::new(name).map_err(|_| unknown())?;
    match app.desk.look(&slug).await {
        Ok(Seen::Poll(view)) => Ok(view),
        Ok(Seen::Unknown) => Err(unknown()),
        Ok(Seen::CannotTell) | Err(Busy) => Err(busy(app, embedded)),
    }
}

/// `GET /polls/POLL`: the form, or the results for who cannot vote any more.
pub(super) async fn poll(
    State(app): State<Arc<App>>,
    Name(name): Name,
    shape: Shape,
    client: Client,
    headers: HeaderMap,
) -> Response {
    let embedded = shape.is_embedded();
    let view = match view_of(&app, &name, embedded).await {
        Ok(view) => view,
        Err(answer) => return answer,
    };
    let token = app.cookies.token(&headers, client.https);
    if !is_open(&view.poll) {
        results_page(&app, &view, Notice::None, embedded).into_response()
    } else if token.is_some_and(|token| app.cookies.has_voted(&headers, token, &view.poll.slug)) {
        results_page(&app, &view, Notice::Already, embedded).into_response()
    } else {
        vote_page(&app, &view, None, embedded).into_response()
    }
}

/// `GET /polls/POLL/results`.
pub(super) async fn results(State(app): State<Arc<App>>, Name(name): Name, shape: Shape) -> Response {
    let embedded = shape.is_embedded();
    let view = match view_of(&app, &name, embedded).await {
        Ok(view) => view,
        Err(answer) => return answer,
    };
    let notice = if shape.voted { Notice::Taken } else { Notice::None };
    let mut answer = results_page(&app, &view, notice, embedded).into_response();
    if matches!(notice, Notice::None) {
        let shared = HeaderValue::from_static("public, max-age=1");
        answer.headers_mut().insert(header::CACHE_CONTROL, shared);
    }
    answer
}
