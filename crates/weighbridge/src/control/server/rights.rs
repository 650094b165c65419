//! What a client may ask for: everything, as root on the control socket, or changes of named tables,
//! on the socket for tables, or how the daemon is, on the socket for status. Whoever is behind
//! those, a mail server's process or a monitoring plug-in for example, gets no other power over the
//! packet filter.

use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pf_engine::anchor::AnchorPath;
use serde::{Deserialize, Deserializer};

use super::status::{STATUS_CLIENTS_MAX, STATUS_REQUEST_BYTES_MAX};
use super::{CLIENTS_MAX, TABLE_CLIENTS_MAX};
use crate::control::protocol::{REQUEST_BYTES_MAX, Request, TableCommand, TableRequest};
use crate::mail::listen::{ListenError, bind};
use crate::mail::settings::{Listen, SOCKET_MODE, TABLES_SOCKET};

/// Bytes in one request of who may only change tables: as many addresses as one may have.
const TABLE_REQUEST_BYTES_MAX: usize = 8 << 20;
/// What `entries` may be: a request with so many still fits.
const ENTRIES: std::ops::RangeInclusive<usize> = 1..=100_000;
/// Characters of a table's name (`PF_TABLE_NAME_SIZE` 32, with a NUL).
const TABLE_NAME_MAX: usize = 31;
/// Tables that may be named.
const TABLES_MAX: usize = 64;

/// `[tables]` of weighbridge.toml: who else may change which tables.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TableSettings {
    /// The tables. They are the other side's alone.
    #[serde(deserialize_with = "names")]
    pub names: BTreeSet<String>,
    /// Path of the socket.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Group of the socket: its members may connect. Without one only root may.
    pub group: Option<String>,
    /// Addresses of each table at most.
    #[serde(default = "entries", deserialize_with = "entries_in_range")]
    pub entries: usize,
    /// An address that has been there for so long is deleted.
    #[serde(default = "max_age", deserialize_with = "age")]
    pub max_age: Duration,
}

fn socket() -> PathBuf {
    TABLES_SOCKET.into()
}

const fn entries() -> usize {
    10_000
}

const fn max_age() -> Duration {
    Duration::from_hours(24)
}

fn entries_in_range<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    let number = usize::deserialize(input)?;
    if ENTRIES.contains(&number) {
        return Ok(number);
    }
    let (least, most) = (ENTRIES.start(), ENTRIES.end());
    let message = format!("{number} is not between {least} and {most}");
    Err(serde::de::Error::custom(message))
}

fn age<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    crate::text::parse_time(&text).map_err(serde::de::Error::custom)
}

fn names<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeSet<String>, D::Error> {
    let names = BTreeSet::<String>::deserialize(input)?;
    let bad = |name: &&String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        name.is_empty() || name.len() > TABLE_NAME_MAX || !name.bytes().all(plain)
    };
    let problem = match names.iter().find(bad) {
        Some(name) => format!(
            "\"{name}\" cannot be a table's name: 1 to {TABLE_NAME_MAX} letters, digits, -, _ or ."
        ),
        None if names.is_empty() => "no table is named".to_owned(),
        None if names.len() > TABLES_MAX => format!("more than {TABLES_MAX} tables"),
        None => return Ok(names),
    };
    Err(serde::de::Error::custom(problem))
}

/// The socket for tables, with what may be done on it.
#[derive(Debug)]
pub struct TableSocket {
    pub(super) listener: UnixListener,
    pub(super) rights: Rights,
    pub(super) settings: Arc<TableSettings>,
}

impl TableSocket {
    /// Opens it; what a dead daemon left is replaced.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub fn bind(settings: &TableSettings) -> Result<Self, ListenError> {
        let listener = open(&settings.socket, settings.group.as_deref(), SOCKET_MODE)?;
        let settings = Arc::new(settings.clone());
        Ok(Self {
            listener,
            rights: Rights::Tables(Arc::clone(&settings)),
            settings,
        })
    }
}

/// Opens a socket for others than root; what a dead daemon left is replaced.
pub(super) fn open(
    path: &Path,
    group: Option<&str>,
    mode: u32,
) -> Result<UnixListener, ListenError> {
    let place = Listen {
        socket: Some(path.to_path_buf()),
        group: group.map(str::to_owned),
        mode: Some(mode),
        ..Listen::default()
    };
    let failed = |error| ListenError::Io {
        place: path.display().to_string(),
        error,
    };
    let listener = bind(&place)?.unix;
    let listener = listener.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// What a client may ask for.
#[derive(Clone, Debug)]
pub enum Rights {
    /// Everything.
    All,
    /// Changes of these tables.
    Tables(Arc<TableSettings>),
    /// How the daemon is.
    Status,
}

impl Rights {
    /// Bytes of a request.
    pub(super) const fn request_bytes_max(&self) -> usize {
        match self {
            Self::All => REQUEST_BYTES_MAX,
            Self::Tables(_) => TABLE_REQUEST_BYTES_MAX,
            Self::Status => STATUS_REQUEST_BYTES_MAX,
        }
    }

    /// Clients with such rights that are served at the same time.
    pub(super) const fn clients_max(&self) -> usize {
        match self {
            Self::All => CLIENTS_MAX,
            Self::Tables(_) => TABLE_CLIENTS_MAX,
            Self::Status => STATUS_CLIENTS_MAX,
        }
    }

    /// Whether it is everything.
    pub(super) const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether a connection is for one question.
    pub(super) const fn asks_once(&self) -> bool {
        matches!(self, Self::Status)
    }

    /// Addresses that a table may have after a change.
    pub(super) fn entries_max(&self) -> Option<usize> {
        match self {
            Self::All | Self::Status => None,
            Self::Tables(tables) => Some(tables.entries),
        }
    }

    /// Whether `request` may be asked.
    ///
    /// # Errors
    /// What to say.
    pub(super) fn check(&self, request: &Request) -> Result<(), String> {
        match (self, request) {
            (Self::All, _)
            | (Self::Status, Request::Health | Request::Gateways | Request::Limits) => Ok(()),
            (Self::Status, _) => {
                Err("refused: this socket tells how the daemon is, and no more".to_owned())
            }
            (Self::Tables(tables), Request::Table(request)) => check_table(tables, request),
            (Self::Tables(_), _) => {
                Err("refused: this socket is for changes of tables alone".to_owned())
            }
        }
    }
}

fn check_table(tables: &TableSettings, request: &TableRequest) -> Result<(), String> {
    if request.anchor != AnchorPath::main() || !tables.names.contains(&request.name) {
        return Err(format!(
            "refused: <{}> is not named in [tables] of weighbridge.toml",
            request.name
        ));
    }
    match request.command {
        TableCommand::Add
        | TableCommand::Delete
        | TableCommand::Replace
        | TableCommand::Expire
        | TableCommand::Show
        | TableCommand::Test => Ok(()),
        TableCommand::Flush
        | TableCommand::Load
        | TableCommand::Kill
        | TableCommand::Zero
        | TableCommand::Reset => {
            Err("refused: use add, delete, replace, expire, show or test".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::WatchRequest;

    fn rights() -> Rights {
        let settings = "names = [\"spammers\"]\nentries = 2\nmax-age = \"1h\"";
        let settings: TableSettings = toml::from_str(settings).expect("it reads");
        Rights::Tables(Arc::new(settings))
    }

    fn request(name: &str, command: TableCommand) -> TableRequest {
        TableRequest {
            name: name.to_owned(),
            anchor: AnchorPath::main(),
            command,
            entries: Vec::new(),
            dry_run: false,
            verbose: 0,
            age: 0,
        }
    }

    #[test]
    fn named_tables_may_be_changed_and_nothing_else() {
        let rights = rights();
        let may = |name, command| rights.check(&Request::Table(request(name, command)));
        assert_eq!(may("spammers", TableCommand::Add), Ok(()));
        assert_eq!(may("spammers", TableCommand::Replace), Ok(()));
        let problem = may("friends", TableCommand::Add).expect_err("refused");
        assert!(problem.contains("<friends> is not named"), "{problem}");
        assert!(may("spammers", TableCommand::Kill).is_err());
        assert!(rights.check(&Request::Describe).is_err());
        assert!(rights.check(&Request::SetEnabled(false)).is_err());
        let anchored = TableRequest {
            anchor: AnchorPath::new("a").expect("a path"),
            ..request("spammers", TableCommand::Add)
        };
        assert!(rights.check(&Request::Table(anchored)).is_err());
        assert_eq!(Rights::All.check(&Request::Describe), Ok(()));
    }

    #[test]
    fn how_the_daemon_is_may_be_asked_and_nothing_else() {
        let may = |request: Request| Rights::Status.check(&request);
        for request in [Request::Health, Request::Gateways, Request::Limits] {
            assert_eq!(may(request), Ok(()));
        }
        let watch = Request::Watch(WatchRequest::default());
        for request in [
            Request::Describe,
            Request::Flows,
            Request::SaveStates,
            watch,
        ] {
            assert!(may(request).is_err());
        }
        assert!(may(Request::SetEnabled(false)).is_err());
        assert!(may(Request::Table(request("spammers", TableCommand::Show))).is_err());
    }

    #[test]
    fn wrong_settings_say_what_is_wrong() {
        for (text, message) in [
            ("names = []", "no table is named"),
            ("names = [\"a b\"]", "\"a b\" cannot be a table's name"),
            (
                "names = [\"a\"]\nentries = 0",
                "0 is not between 1 and 100000",
            ),
            ("names = [\"a\"]\nmax-age = \"x\"", "\"x\" is no time"),
        ] {
            let error = toml::from_str::<TableSettings>(text).expect_err(text);
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
