//! The JSON interface, checked against its own description: every path, every answer that can be brought about, every
//! key.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Answer, Memcached, Service, Site};

/// The value that a `$ref` points to, or the value itself.
fn resolve<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(pointer) => resolve(description, description.pointer(pointer.strip_prefix('#').unwrap()).unwrap()),
        None => value,
    }
}

/// Fails unless `value` is as `schema` says, with no key that it does not tell of.
fn assert_fits(description: &Value, schema: &Value, value: &Value) {
    let schema = resolve(description, schema);
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap()],
    };
    assert!(allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number")), "{kind} for {schema}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{value} is none of {words:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        assert_fits(description, &schema["items"], item);
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(object.contains_key(name.as_str().unwrap()), "{name} is missing in {value}");
        }
        for (name, value) in object {
            let schema = properties.get(name).unwrap_or_else(|| panic!("{name} is not described: {value}"));
            assert_fits(description, schema, value);
        }
    }
}

#[test]
fn the_running_service_is_as_its_description_says() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "create", "past", "--question", "?", "--choice", "a=A", "--choice", "b=B", "--closes", "1d"]);
    site.ok(&["poll", "close", "past"]);
    let service = Service::start(&site, &["--flush-every", "100ms"]);
    let description = service.get("/api/v1/openapi.json").json();
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let mut check = |path: &str, method: &str, answer: &Answer| {
        let described = &description["paths"][path][method]["responses"][&answer.status.to_string()];
        assert!(described.is_object(), "{method} {path}: {} is not described", answer.status);
        let described = resolve(&description, described);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_fits(&description, &described["content"]["application/json"]["schema"], &answer.json());
        if described["headers"].is_object() {
            assert!(answer.headers["retry-after"].parse::<u32>().is_ok());
        }
        seen.insert((path.to_string(), answer.status.to_string()));
    };
    check("/api/v1/openapi.json", "get", &service.get("/api/v1/openapi.json"));
    check("/api/v1/polls", "get", &service.get("/api/v1/polls"));
    for name in ["now", "past", "never", "NOT-A-NAME"] {
        check("/api/v1/polls/{poll}", "get", &service.get(&format!("/api/v1/polls/{name}")));
        check("/api/v1/polls/{poll}/results", "get", &service.get(&format!("/api/v1/polls/{name}/results")));
    }
    let votes = "/api/v1/polls/{poll}/votes";
    let first = service.api_vote("now", &["yes"], &[]);
    assert_eq!(first.status, 201, "{}", first.body);
    check(votes, "post", &first);
    check(votes, "post", &service.api_vote("now", &["yes"], &[("Cookie", &first.cookies)]));
    for (poll, choices) in [("now", &["maybe"][..]), ("now", &[]), ("past", &["a"]), ("never", &["a"]), ("N", &["a"])] {
        check(votes, "post", &service.api_vote(poll, choices, &[]));
    }
    check(votes, "post", &service.api_vote("now", &["yes"], &[("Sec-Fetch-Site", "cross-site")]));
    check(votes, "post", &service.api_vote("now", &[&"x".repeat(20_000)], &[]));
    for (kind, body) in [("application/json", "{"), ("text/plain", "{\"choices\":[\"yes\"]}")] {
        let headers = [("Content-Type", kind)];
        check(votes, "post", &service.request("POST", "/api/v1/polls/now/votes", &headers, body));
    }
    let statuses = |path: &str| -> Vec<&str> {
        seen.iter().filter(|(one, _)| one == path).map(|(_, status)| status.as_str()).collect()
    };
    assert_eq!(statuses(votes), ["201", "400", "403", "404", "409", "410", "413", "415", "422"]);
    for path in description["paths"].as_object().unwrap().keys() {
        assert!(statuses(path).iter().any(|status| status.starts_with('2')), "{path} was not tried");
    }
    // And the other way round: no route of the interface is left out of the description.
    let routes = include_str!("../../../src/web/app.rs");
    for route in routes.split("\"/api/v1/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(description["paths"].get(format!("/api/v1/{route}")).is_some(), "{route} is not described");
    }
    assert_eq!(service.get("/api/v1/nothing").json()["error"], "not_found");
    assert_eq!(service.request("DELETE", "/api/v1/polls", &[], "").json()["error"], "method_not_allowed");
}

#[test]
fn a_monitor_reads_votes_refusals_depth_lag_and_latency() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let service = Service::start(&site, &["--flush-every", "1h"]);
    assert_eq!(service.api_vote("now", &["yes"], &[]).status, 201);
    assert_eq!(service.api_vote("now", &["no"], &[]).status, 201);
    assert_eq!(service.api_vote("now", &["maybe"], &[]).status, 422);
    let text = service.get("/metrics").body;
    // Two entries, and it may be a ticket that the writer has taken ahead.
    let depth = format!("weir_queue_depth{{server=\"{}\"}} ", memcached.address());
    let depth = text.lines().find_map(|line| line.strip_prefix(&depth));
    assert!(["2", "3"].map(Some).contains(&depth), "{depth:?}");
    for line in [
        "weir_votes_total{way=\"queued\"} 2",
        "weir_votes_total{way=\"spooled\"} 0",
        "weir_votes_refused_total{reason=\"bad_pick\"} 1",
        "weir_vote_seconds_bucket{le=\"+Inf\"} 2",
        "weir_vote_seconds_count 2",
        "weir_database_up 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing:\n{text}");
    }
    assert!(text.contains("\nweir_flush_lag_seconds "));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let described = [name, family].iter().any(|name| text.contains(&format!("# TYPE {name} ")));
        assert!(described && value.parse::<f64>().is_ok(), "{line}");
    }
}
