//! `mail.toml`: what the mail side serves, where, and for whom.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use crate::config::{Problem, read_text, toml_problem, unreadable};

/// The mail side's settings, in the configuration directory. The file need not exist.
pub const MAIL_FILE: &str = "mail.toml";
/// Clients of one socket that are served at the same time unless `clients` says otherwise.
pub const CLIENTS: usize = 256;
/// What `clients` may be: each costs a descriptor and a few kilobytes.
const CLIENTS_RANGE: std::ops::RangeInclusive<usize> = 1..=4096;
/// Permissions of a UNIX socket unless `mode` says otherwise: its owner and its group.
pub const SOCKET_MODE: u32 = 0o660;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct MailSettings {}

/// Where one service listens: a UNIX socket, a TCP port, or both. Every service's table has these
/// keys (`#[serde(flatten)]` does not go with `deny_unknown_fields`: it is a field `listen`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Listen {
    /// Path of a UNIX socket.
    pub socket: Option<PathBuf>,
    /// Group that owns the socket: its members may ask.
    pub group: Option<String>,
    /// Permissions of the socket, as a string of octal digits (`"0660"`).
    #[serde(deserialize_with = "mode")]
    pub mode: Option<u32>,
    /// Address and port of a TCP socket.
    pub address: Option<SocketAddr>,
    /// Clients served at the same time.
    #[serde(deserialize_with = "clients")]
    pub clients: Option<usize>,
}

fn mode<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(input)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Some(mode)),
        _ => Err(serde::de::Error::custom(format!(
            "\"{text}\" is no mode: three octal digits, as \"0660\""
        ))),
    }
}

fn clients<'de, D: Deserializer<'de>>(input: D) -> Result<Option<usize>, D::Error> {
    let number = usize::deserialize(input)?;
    if CLIENTS_RANGE.contains(&number) {
        return Ok(Some(number));
    }
    Err(serde::de::Error::custom(format!(
        "{number} is not between {} and {}",
        CLIENTS_RANGE.start(),
        CLIENTS_RANGE.end()
    )))
}

/// Reads `mail.toml` of `dir`; without one everything has its default.
///
/// # Errors
/// The first problem in it.
pub fn read(dir: &Path) -> Result<MailSettings, Problem> {
    let path = dir.join(MAIL_FILE);
    match read_text(&path) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MailSettings::default()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// Reads `text`, which stands in the file called `name`.
///
/// # Errors
/// The first problem in it.
pub fn parse(name: &str, text: &str) -> Result<MailSettings, Problem> {
    toml::from_str(text).map_err(|error| toml_problem(name, text, &error))
}
