//! Who may ask. A browser of somebody on this machine reaches the loopback too, and shows pages of
//! people who would like to ask: by a name of theirs that leads here (DNS rebinding), or by a
//! form or script of theirs.

use std::net::IpAddr;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::super::stream::Way;
use super::{Reply, error};

/// Says what kind of page made a browser ask; no other client has it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What it says when the user typed the address.
const BY_THE_USER: &[u8] = b"none";

/// Names by which we are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    hosts: Vec<String>,
}

impl Guard {
    /// `hosts` beside `localhost` and every address: a name can be made to lead here, an address
    /// cannot.
    #[must_use]
    pub fn new(hosts: &[String]) -> Self {
        let lower = hosts.iter().map(|host| host.to_ascii_lowercase());
        Self {
            hosts: lower.collect(),
        }
    }

    pub(super) fn admits<B>(&self, request: &Request<B>, way: Way) -> Result<(), Reply> {
        let headers = request.headers();
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != BY_THE_USER) {
            return Err(error(StatusCode::FORBIDDEN, "not for pages of others"));
        }
        if way == Way::Tcp && !self.is_called(headers) {
            let why = "Host: expected localhost, an address, or a name of hosts in [http]";
            return Err(error(StatusCode::MISDIRECTED_REQUEST, why));
        }
        if request.method() == Method::POST && !is_json(headers) {
            let why = "Content-Type: expected application/json";
            return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        Ok(())
    }

    fn is_called(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (all.next(), all.next()) else {
            return false;
        };
        let Some(name) = host.to_str().ok().and_then(name) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

/// The host without its port; an IPv6 address without its brackets.
fn name(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or("0");
    let good = rest.is_empty() || rest.starts_with(':');
    (good && port.parse::<u16>().is_ok()).then_some(name)
}

/// Browsers ask first before they send that for a page.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(way: Way, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let guard = Guard::new(&["Mail.example.org".to_owned()]);
        match guard.admits(&request, way) {
            Ok(()) => 200,
            Err((status, _)) => status.as_u16(),
        }
    }

    #[test]
    fn by_tcp_only_our_own_names_and_addresses_are_answered() {
        for (host, expected) in [
            ("localhost:8025", 200),
            ("127.0.0.1", 200),
            ("[::1]:8025", 200),
            ("mail.EXAMPLE.org:1", 200),
            ("evil.example.net", 421),
            ("localhost.evil.example.net", 421),
            ("[::1", 421),
            ("localhost:x", 421),
            ("", 421),
        ] {
            assert_eq!(
                status(Way::Tcp, "GET", &[("host", host)]),
                expected,
                "{host}"
            );
        }
        assert_eq!(status(Way::Tcp, "GET", &[]), 421);
        let two = [("host", "localhost"), ("host", "evil.example.net")];
        assert_eq!(status(Way::Tcp, "GET", &two), 421);
        assert_eq!(status(Way::Unix, "GET", &[("host", "whatever")]), 200);
    }

    #[test]
    fn pages_of_others_are_not_answered_and_reports_must_be_json() {
        for (name, value, expected) in [
            ("origin", "https://evil.example.net", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "none", 200),
        ] {
            assert_eq!(status(Way::Unix, "GET", &[(name, value)]), expected);
        }
        for (kind, expected) in [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("text/plain", 415),
        ] {
            let headers = [("content-type", kind)];
            assert_eq!(status(Way::Unix, "POST", &headers), expected);
        }
        assert_eq!(status(Way::Unix, "POST", &[]), 415);
    }
}
