//! What of a configuration matters here.

use std::collections::BTreeMap;

use super::listen::{Address, Listen};
use super::reader::Reader;
use crate::files::{Files, Place};
use crate::limits::MAX_PROBLEMS;

/// The server that reads the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Version, for `<IfVersion>`.
    pub version: (u32, u32, u32),
    /// Where relative paths begin until `ServerRoot` says otherwise.
    pub root: String,
    /// Modules that are built in, by file (`mod_so.c`) and by name (`so_module`).
    pub built_in: Vec<String>,
    /// Environment, for `${NAME}`.
    pub environment: BTreeMap<String, String>,
    /// What `-D` defines.
    pub defines: Vec<String>,
}

impl Default for Server {
    /// A 2.4 with the modules that every build of it has.
    fn default() -> Self {
        Self {
            version: (2, 4, 0),
            root: "/etc/apache2".to_owned(),
            built_in: [
                "core.c",
                "core_module",
                "mod_so.c",
                "so_module",
                "http_core.c",
                "http_module",
            ]
            .map(str::to_owned)
            .to_vec(),
            environment: BTreeMap::new(),
            defines: Vec::new(),
        }
    }
}

/// `<VirtualHost ADDRESS[:PORT] …>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Where it begins.
    pub place: Place,
    /// Its addresses; no port, or `*`, is every port.
    pub addresses: Vec<(Address, Option<u16>)>,
    /// The line, for people.
    pub text: String,
}

/// What httpd would refuse, or is not known to this reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The line.
    pub text: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether httpd would not start; else it warns, or does not mind.
    pub fatal: bool,
}

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Listeners in their order.
    pub listens: Vec<Listen>,
    /// Virtual hosts in their order.
    pub virtual_hosts: Vec<VirtualHost>,
    /// `ErrorLog` files of the main server, as paths; pipes and syslog are left out.
    pub error_logs: Vec<String>,
    /// What is wrong with the text itself.
    pub problems: Vec<Problem>,
    /// Problems over [`MAX_PROBLEMS`], and whatever else a limit left out.
    pub left_out: u64,
    /// Files that were read, in their order.
    pub files: Vec<String>,
}

impl Config {
    pub(crate) fn problem(&mut self, place: &Place, text: &str, fatal: bool, message: String) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.left_out += 1;
            return;
        }
        self.problems.push(Problem {
            place: place.clone(),
            text: text.to_owned(),
            message,
            fatal,
        });
    }
}

/// Reads the configuration that begins with the file `path`.
#[must_use]
pub fn read(path: &str, server: &Server, files: &dyn Files) -> Config {
    Reader::new(server, files).read(path)
}
