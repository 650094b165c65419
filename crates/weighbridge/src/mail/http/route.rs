//! What a request asks for.

use std::time::Duration;

use hyper::StatusCode;
use mail::connection::Peer;
use mail::statistics::Grouping;
use mail::time::Timestamp;

use super::super::report::before;
use super::{Reply, error};
use crate::text::parse_time;

/// A request that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// What is known of a client.
    Os(Peer),
    /// Outcomes by operating system.
    Report(ReportQuery),
    /// Handshakes that no signature fits.
    Unknown,
    /// How the daemon is.
    Health,
    /// A report of an outcome, in the body.
    Outcome,
}

/// Which outcomes, and what stands on one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportQuery {
    age: Option<Duration>,
    /// What stands on one line.
    pub grouping: Grouping,
}

impl ReportQuery {
    /// Since when, at `now`.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.age.map(|age| before(now, age))
    }
}

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such thing.
    NotFound,
    /// It is asked for in another way.
    Method(&'static str),
    /// Its path or query is not understood.
    Query(String),
}

impl From<Wrong> for Reply {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::NotFound => error(
                StatusCode::NOT_FOUND,
                "expected /os/ADDRESS, /report, /unknown, /health or /outcome",
            ),
            Wrong::Method(method) => error(
                StatusCode::METHOD_NOT_ALLOWED,
                &format!("expected the method {method}"),
            ),
            Wrong::Query(why) => error(StatusCode::BAD_REQUEST, &why),
        }
    }
}

impl Route {
    /// Reads method, path and query.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Self, Wrong> {
        let (expected, route) = match path {
            "/outcome" => ("POST", Self::Outcome),
            "/health" => ("GET", Self::Health),
            "/unknown" => ("GET", Self::Unknown),
            "/report" => ("GET", Self::Report(report(query.unwrap_or_default())?)),
            path => {
                let words = path.strip_prefix("/os/").ok_or(Wrong::NotFound)?;
                ("GET", Self::Os(peer(words)?))
            }
        };
        if method != expected {
            return Err(Wrong::Method(expected));
        }
        if query.is_some_and(|query| !query.is_empty()) && path != "/report" {
            return Err(Wrong::Query("expected no query".to_owned()));
        }
        Ok(route)
    }
}

/// `ADDRESS[/PORT[/SERVER-ADDRESS/SERVER-PORT]]`.
fn peer(words: &str) -> Result<Peer, Wrong> {
    mail::text::peer(words.split('/')).map_err(|why| Wrong::Query(why.to_owned()))
}

fn report(query: &str) -> Result<ReportQuery, Wrong> {
    let (mut age, mut by_version, mut family) = (None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let twice = match name.as_ref() {
            "since" => age
                .replace(parse_time(&value).map_err(Wrong::Query)?)
                .is_some(),
            "by" => by_version.replace(is_version(&value)?).is_some(),
            "family" => family.replace(value.into_owned()).is_some(),
            _ => {
                let why = "expected since, by or family";
                return Err(Wrong::Query(why.to_owned()));
            }
        };
        if twice {
            return Err(Wrong::Query(format!("{name} is there twice")));
        }
    }
    let grouping = match (by_version.unwrap_or_default(), family) {
        (false, None) => Grouping::Family,
        (true, family) | (false, family @ Some(_)) => Grouping::Version { family },
    };
    Ok(ReportQuery { age, grouping })
}

fn is_version(value: &str) -> Result<bool, Wrong> {
    match value {
        "version" => Ok(true),
        "family" => Ok(false),
        _ => Err(Wrong::Query("by: expected family or version".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Result<Route, Wrong> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Route::parse("GET", path, query)
    }

    #[test]
    fn a_client_is_named_by_the_path() {
        let address = [192, 0, 2, 1].into();
        let client = Peer::client(address, 4711);
        let server = client.to_server("2001:db8::9".parse().expect("one"), 25);
        for (target, peer) in [
            ("/os/192.0.2.1", Peer::address(address)),
            ("/os/192.0.2.1/4711", client),
            ("/os/::ffff:192.0.2.1/4711/2001:db8::9/25", server),
        ] {
            assert_eq!(get(target), Ok(Route::Os(peer)));
        }
    }

    #[test]
    fn a_report_has_a_time_and_a_grouping() {
        let Ok(Route::Report(query)) = get("/report?since=7d&by=version&family=MacOS+X") else {
            panic!("no report");
        };
        let family = Some("MacOS X".to_owned());
        assert_eq!(query.grouping, Grouping::Version { family });
        let now = Timestamp::from_secs(700_000);
        let since = query.since(now).map(Timestamp::as_secs);
        assert_eq!(since, Some(700_000 - 604_800));
        assert_eq!(get("/report"), Ok(Route::Report(ReportQuery::default())));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let expected = "expected an address of IPv4 or IPv6".to_owned();
        assert_eq!(get("/os/example.org"), Err(Wrong::Query(expected)));
        assert_eq!(get("/os"), Err(Wrong::NotFound));
        assert_eq!(get("/outcome"), Err(Wrong::Method("POST")));
        assert_eq!(
            Route::parse("POST", "/health", None),
            Err(Wrong::Method("GET"))
        );
        for wrong in [
            "/os/192.0.2.1/",
            "/os/192.0.2.1//25",
            "/os/192.0.2.1/99999",
            "/os/192.0.2.1 25",
            "/report?since=yesterday",
            "/report?since=1d&since=2d",
            "/report?by=name",
            "/report?x=1",
            "/health?x=1",
        ] {
            assert!(matches!(get(wrong), Err(Wrong::Query(_))), "{wrong}");
        }
    }
}
