//! What the machine's Kerberos tools are asked: the library's version, and for a ticket.

use std::path::Path;
use std::process::Command;

use ::doctor::kerberos::{Implementation, Ticket};

use crate::doctor::program::{ask, find};

/// The library by its tools, else by its files.
pub(super) fn implementation() -> Option<Implementation> {
    // Heimdal's tools know --version; MIT's refuse it, and klist has -V.
    let told = |program: &str, option: &str| {
        let said = ask(Command::new(find(&[program])?).arg(option)).ok()?;
        said.success
            .then(|| Implementation::parse(&said.text))
            .flatten()
    };
    told("kinit", "--version")
        .or_else(|| told("klist", "-V"))
        .or_else(by_files)
}

fn by_files() -> Option<Implementation> {
    let directories = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/lib64",
        "/lib",
    ];
    let any = |name: &str| {
        directories
            .iter()
            .any(|directory| Path::new(directory).join(name).exists())
    };
    // What sshd and most programs of a Linux are linked with comes first.
    if any("libkrb5.so.3") {
        Some(Implementation::Mit)
    } else if any("libkrb5.so.26") {
        Some(Implementation::HeimdalUnknown)
    } else {
        None
    }
}

/// Asks for the host's own ticket with its key, and then for a ticket for itself, which tells the
/// version of the KDC's key. The cache is a file of nobody else's, and goes afterwards.
pub(super) fn ticket(configuration: &str, keytab: &str, principal: &str) -> Ticket {
    let Some(kinit) = find(&["kinit"]) else {
        return Ticket::NotTried("no kinit is installed (apt-get install krb5-user)".to_owned());
    };
    let directory = match tempfile::Builder::new()
        .prefix("weighbridge-doctor")
        .tempdir()
    {
        Ok(directory) => directory,
        Err(error) => return Ticket::NotTried(format!("no place for a ticket: {error}")),
    };
    let cache = format!("FILE:{}", directory.path().join("cache").display());
    let with = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env("KRB5_CONFIG", configuration)
            .env("KRB5CCNAME", &cache);
        command
    };
    let said = ask(with(&kinit).args(["-k", "-t", keytab, "-c", &cache, principal]));
    match said {
        Err(reason) => return Ticket::NotTried(reason),
        Ok(said) if !said.success => return Ticket::Refused(said.text.trim().to_owned()),
        Ok(_) => {}
    }
    let Some(kvno) = find(&["kvno"]) else {
        return Ticket::Granted(None);
    };
    match ask(with(&kvno).args(["-c", &cache, principal])) {
        Ok(said) if said.success => Ticket::Granted(version(&said.text)),
        Ok(said) => Ticket::Refused(said.text.trim().to_owned()),
        Err(_) => Ticket::Granted(None),
    }
}

/// `host/a@R: kvno = 3`.
fn version(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once("kvno = ")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_of_a_key_is_read_as_kvno_prints_it() {
        assert_eq!(version("host/a.example.org@R: kvno = 3\n"), Some(3));
        assert_eq!(
            version("host/a.example.org@R: kvno = 12, keytab entry valid\n"),
            Some(12)
        );
        assert_eq!(version("no"), None);
    }
}
