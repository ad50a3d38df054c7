//! Style, script, icon and the description of the JSON interface: files of the binary, served under names that change
//! with their content, so that browsers keep them for good.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::app::Name;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/polls.js");
const ICON: &str = include_str!("assets/icon.svg");
const OPENAPI: &str = include_str!("assets/openapi.json");

/// The path of the style sheet.
pub(super) static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path("style", STYLE, "css"));
/// The path of the script.
pub(super) static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path("polls", SCRIPT, "js"));
/// The path of the icon.
pub(super) static ICON_PATH: LazyLock<String> = LazyLock::new(|| path("icon", ICON, "svg"));

fn path(name: &str, content: &str, ending: &str) -> String {
    let hash = blake3::hash(content.as_bytes()).to_hex();
    format!("/assets/{name}-{}.{ending}", &hash.as_str()[..16])
}

/// `GET /assets/FILE`.
pub(super) async fn file(Name(name): Name) -> Response {
    let is = |path: &str| path.strip_prefix("/assets/") == Some(&name);
    let (content, kind) = if is(&STYLE_PATH) {
        (STYLE, "text/css; charset=utf-8")
    } else if is(&SCRIPT_PATH) {
        (SCRIPT, "text/javascript; charset=utf-8")
    } else if is(&ICON_PATH) {
        (ICON, "image/svg+xml")
    } else {
        return StatusCode::NOT_FOUND.into_response();
    };
    kept(content, kind, "public, max-age=31536000, immutable")
}

/// `GET /favicon.ico`, for browsers that ask without having been told of the icon.
pub(super) async fn icon() -> Response {
    kept(ICON, "image/svg+xml", "public, max-age=86400")
}

/// `GET /api/v1/openapi.json`.
pub(super) async fn openapi() -> Response {
    kept(OPENAPI, "application/json", "public, max-age=300")
}

fn kept(content: &'static str, kind: &'static str, cache: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (headers, content).into_response()
}
