//! Files, logs and answers of other programs that the doctor reads.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use doctor::apache::{self, Log, Probe, Server};
use doctor::kerberos::{
    self, Answer, Grammar, Implementation, Keytab, Principal, Profile, Reply, SshdConfig, SshdLog,
    Subject, Ticket, Transport,
};
use doctor::limits::{MAX_KEYTAB_ENTRIES, MAX_LOG_KINDS, MAX_PROBLEMS};
use doctor::{Entry, Files, MemoryFiles, Step, apply, unified};

/// Longer input says nothing new and takes longer, in bytes.
const MAX_INPUT_LEN: usize = 16 << 10;

/// One text under every name: what includes anything includes itself.
struct Everywhere<'a>(&'a [u8]);

impl Files for Everywhere<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path.ends_with("none") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.0.to_vec())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let entry = |name: &str| Entry {
            name: name.to_owned(),
            directory: false,
        };
        if directory == "/etc/apache2"
            || Path::new(directory)
                .extension()
                .is_some_and(|end| end == "d")
        {
            return Ok(vec![entry("a.conf"), entry("none")]);
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn mode(&self, _: &str) -> Option<u32> {
        Some(0o644)
    }
}

/// A jail, and a KDC that answers with the input.
struct Jail<'a>(&'a [u8]);

impl apache::Surroundings for Jail<'_> {
    fn reach(&self, address: IpAddr) -> Probe {
        if address.is_unspecified() {
            Probe::Refused("Connection refused".to_owned())
        } else {
            Probe::Answers
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()]
    }

    fn addresses_of(&self, name: &str) -> Option<Result<Vec<IpAddr>, String>> {
        Some(match name.len() {
            0..=3 => Err(String::new()),
            _ => Ok(apache::Surroundings::addresses(self)),
        })
    }

    fn loopback_up(&self) -> Option<bool> {
        None
    }

    fn name(&self) -> String {
        "this jail".to_owned()
    }
}

impl kerberos::Surroundings for Jail<'_> {
    fn host_name(&self) -> Result<String, String> {
        Ok("a.example.org".to_owned())
    }

    fn addresses_of(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        Ok(apache::Surroundings::addresses(self))
    }

    fn name_of(&self, _: IpAddr) -> Result<String, String> {
        Ok("a.example.org".to_owned())
    }

    fn servers_of(&self, _: &str) -> Result<Vec<(String, u16)>, String> {
        Ok(vec![("kdc.example.org".to_owned(), 0)])
    }

    fn ask(&self, _: SocketAddr, _: Transport, _: &[u8]) -> Result<Answer, String> {
        Ok(Answer {
            bytes: self.0.to_vec(),
            at: 1_700_000_000_000_000,
        })
    }

    fn nonce(&self) -> u32 {
        1
    }

    fn ticket(&self, _: &str, _: &str) -> Ticket {
        Ticket::Granted(Some(1))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        apache::Surroundings::addresses(self)
    }
}

/// Every finding says something, and its edit fits the text that it was made for.
fn check_findings(steps: &[Step], text: &str) {
    for finding in steps.iter().flat_map(Step::findings) {
        assert!(!finding.message.is_empty() && !finding.verified.is_empty());
        let Some(fix) = &finding.fix else {
            continue;
        };
        for edits in fix.by_file().values() {
            let mended = apply(text, edits);
            assert!(mended.is_ok(), "{mended:?}: {fix:?}");
            assert!(edits.iter().all(|edit| edit.old != edit.new), "{fix:?}");
            let diff = unified("file", text, edits);
            assert!(diff.starts_with("--- file\n"));
        }
    }
}

fn bounded(data: &[u8]) -> (&[u8], String) {
    let data = data.get(..MAX_INPUT_LEN).unwrap_or(data);
    (data, String::from_utf8_lossy(data).into_owned())
}

/// Reads text as an httpd.conf that includes itself, and as `envvars`.
///
/// # Panics
/// When an edit does not fit, or a list outgrows its limit.
pub fn httpd_conf(data: &[u8]) {
    let (data, text) = bounded(data);
    let server = Server {
        environment: apache::envvars(&text),
        ..Server::default()
    };
    let main = "/etc/apache2/httpd.conf";
    for files in [
        &Everywhere(data) as &dyn Files,
        &MemoryFiles::of(&[(main, &text)]),
    ] {
        let config = apache::read(main, &server, files);
        assert!(config.problems.len() <= MAX_PROBLEMS);
        check_findings(&apache::check(&config, None, &Jail(data)), &text);
    }
}

/// Reads text as httpd's error log and as a log of sshd.
///
/// # Panics
/// When a list outgrows its limit.
pub fn doctor_logs(data: &[u8]) {
    let (data, _) = bounded(data);
    let log = Log::read(data);
    assert!(log.complaints.len() <= MAX_LOG_KINDS);
    assert_eq!(
        log.complaints.is_empty(),
        !apache::check_log("log", &log, None).is_faulty()
    );
    let log = SshdLog::read(data);
    assert!(log.seen.len() <= MAX_LOG_KINDS);
    check_findings(&[kerberos::check_sshd_log("log", &log)], "");
}

/// Reads text as krb5.conf in both grammars, with all that is made of it.
///
/// # Panics
/// When an edit does not fit, or a list outgrows its limit.
pub fn krb5_conf(data: &[u8]) {
    let (data, text) = bounded(data);
    let libraries = [
        (Grammar::Mit, Implementation::Mit),
        (Grammar::Heimdal, Implementation::Heimdal(0, 6)),
        (Grammar::Heimdal, Implementation::Heimdal(7, 8)),
    ];
    for (grammar, implementation) in libraries {
        let profile = Profile::read("/etc/krb5.conf:/etc/none", grammar, &Everywhere(data));
        assert!(profile.problems.len() <= MAX_PROBLEMS);
        let files = MemoryFiles::of(&[("/etc/krb5.conf", &text)]);
        check_findings(&check_kerberos(implementation, &files, b""), &text);
    }
}

fn check_kerberos(implementation: Implementation, files: &MemoryFiles, answer: &[u8]) -> Vec<Step> {
    let subject = Subject {
        implementation: Some(implementation),
        configuration: "/etc/krb5.conf".to_owned(),
        keytab: "/etc/krb5.keytab".to_owned(),
        sshd_config: "/etc/ssh/sshd_config".to_owned(),
        host: None,
        sshd_log: None,
    };
    kerberos::check(&subject, files, &Jail(answer))
}

/// Reads bytes as a keytab, and compares it with what a KDC says.
///
/// # Panics
/// When a list outgrows its limit.
pub fn keytab(data: &[u8]) {
    let (data, _) = bounded(data);
    if let Ok(keytab) = Keytab::read(data) {
        assert!(keytab.entries.len() + keytab.holes <= MAX_KEYTAB_ENTRIES);
    }
    let conf = "[libdefaults]\ndefault_realm = MYREALM\n";
    let mut files = MemoryFiles::of(&[("/etc/krb5.conf", conf)]);
    files.0.insert("/etc/krb5.keytab".to_owned(), data.to_vec());
    check_findings(&check_kerberos(Implementation::Mit, &files, b""), conf);
}

/// Reads bytes as the answer of a KDC, and text as a principal.
///
/// # Panics
/// When a principal that a request is made of breaks it.
pub fn kdc(data: &[u8]) {
    let (data, text) = bounded(data);
    if let Err(reason) = Reply::read(data) {
        assert!(!reason.is_empty());
    }
    let principal = Principal::parse(&text);
    let request = kerberos::as_request(&principal, &principal, 1);
    assert!(Reply::read(&request).is_err());
    let conf = "[libdefaults]\ndefault_realm = MYREALM\n";
    let files = MemoryFiles::of(&[("/etc/krb5.conf", conf)]);
    check_findings(&check_kerberos(Implementation::Mit, &files, data), conf);
}

/// Reads text as an `sshd_config` that includes itself.
///
/// # Panics
/// When the text cannot be read at all.
pub fn sshd_config(data: &[u8]) {
    let (data, _) = bounded(data);
    let config = SshdConfig::read("/etc/ssh/sshd_config", &Everywhere(data));
    let config = config.expect("the file is there");
    let keyword = config.value("gssapiauthentication");
    assert_eq!(
        keyword.is_some_and(|k| k.value.eq_ignore_ascii_case("yes")),
        config.is_on("gssapiauthentication", false)
    );
}
