//! Reading the start-up files.

use std::path::{Path, PathBuf};

use links::{ParseError, WantedLinks, bridgename, hostname_if, mygate, rcconf, sysctl};

use crate::config::read_text;
use crate::text::reason;

/// What the files ask for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) links: WantedLinks,
    /// Whether the packet filter is enabled from the start, where a file says so.
    pub(crate) filter: Option<bool>,
    /// Variables of `rc.conf` and `sysctl.conf` that are about something else.
    pub(super) others: Vec<String>,
}

/// Reads the files, or those of a directory. The errors are lines as `FILE:LINE:COLUMN: …`.
pub(super) fn read(paths: &[PathBuf], directory: &Path) -> Result<Wanted, Vec<String>> {
    let found = if paths.is_empty() {
        in_directory(directory)
    } else {
        Ok(paths.to_vec())
    };
    let paths = found.map_err(|error| vec![error])?;
    let mut wanted = Wanted::default();
    let mut errors = Vec::new();
    for path in &paths {
        one(path, &mut wanted, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let problems = links::check(&wanted.links);
    if problems.is_empty() {
        Ok(wanted)
    } else {
        Err(problems)
    }
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "\n  hint: make it, or name start-up files or their directory"
        } else {
            ""
        };
        format!("{}: {}{hint}", directory.display(), reason(&error))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if kind(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(format!(
            "{}: no start-up files\n  hint: rc.conf, hostname.IF, bridgename.BRIDGE, mygate, sysctl.conf",
            directory.display()
        ));
    }
    Ok(paths)
}

/// Whose file it is, by its name.
enum Kind {
    RcConf,
    HostnameIf(String),
    BridgenameIf(String),
    Mygate,
    SysctlConf,
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with('~') {
        return None;
    }
    if let Some(interface) = name.strip_prefix("hostname.") {
        return Some(Kind::HostnameIf(interface.to_owned()));
    }
    if let Some(bridge) = name.strip_prefix("bridgename.") {
        return Some(Kind::BridgenameIf(bridge.to_owned()));
    }
    match name {
        "mygate" => Some(Kind::Mygate),
        "sysctl.conf" => Some(Kind::SysctlConf),
        "rc.conf" | "rc.conf.local" => Some(Kind::RcConf),
        _ => None,
    }
}

/// Whether a file of this name is one of those that are read.
pub(crate) fn is_start_up_file(name: &str) -> bool {
    kind(Path::new(name)).is_some()
}

fn one(path: &Path, wanted: &mut Wanted, errors: &mut Vec<String>) {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(format!("{}: {}", path.display(), reason(&error)));
            return;
        }
    };
    if let Err(faults) = parse(path, &text, wanted) {
        let place = |fault: &ParseError| format!("{}:{fault}", path.display());
        errors.extend(faults.iter().map(place));
    }
}

/// Adds what the file at `path` asks for, whose text this is.
pub(crate) fn parse(path: &Path, text: &str, wanted: &mut Wanted) -> Result<(), Vec<ParseError>> {
    let links = &mut wanted.links;
    // What has another name, `-` among it, is read as an rc.conf.
    match kind(path).unwrap_or(Kind::RcConf) {
        Kind::HostnameIf(name) => {
            hostname_if::parse(&name, text).map(|interface| links.interfaces.push(interface))
        }
        Kind::BridgenameIf(name) => {
            bridgename::parse(&name, text).map(|bridge| links.bridges.push(bridge))
        }
        Kind::Mygate => mygate::parse(text).map(|routes| links.routes.extend(routes)),
        Kind::SysctlConf => sysctl::parse(text).map(|read| {
            links.forward_v4 = read.forward_v4.or(links.forward_v4);
            links.forward_v6 = read.forward_v6.or(links.forward_v6);
            wanted.others.extend(read.others);
        }),
        Kind::RcConf => rcconf::parse(text).map(|read| {
            links.interfaces.extend(read.links.interfaces);
            links.bridges.extend(read.links.bridges);
            links.routes.extend(read.links.routes);
            links.forward_v4 = read.links.forward_v4.or(links.forward_v4);
            links.forward_v6 = read.links.forward_v6.or(links.forward_v6);
            wanted.filter = read.filter.or(wanted.filter);
            wanted.others.extend(read.others);
        }),
    }
}
