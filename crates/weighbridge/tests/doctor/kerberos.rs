//! A realm of MIT's KDC and OpenSSH's sshd, and a client of Heimdal: `realm.sh` makes it in a
//! network and mount namespace, and writes what each attempt and each look came to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::requirements;

use super::packages::unpacked;
use super::{BINARY, libraries};

/// What a run of `realm.sh` came to.
struct Realm {
    run: RunId,
    said: String,
}

impl Realm {
    /// Runs a part of `realm.sh`; none when something is missing here.
    fn of(test: &str, part: &str) -> Option<Self> {
        if requirements::skip_test(test) {
            return None;
        }
        let root = unpacked(test, "root")?;
        let run = RunId::new().expect("an id");
        let shim = shim(test, run.directory())?;
        let namespace = Namespace::create(&run.namespace("realm")).expect("a namespace");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/realm.sh");
        let mut command = Command::new("timeout");
        command
            .args(["300", "ip", "netns", "exec", namespace.name()])
            .args(["unshare", "--mount", "--uts", "sh"])
            .arg(script)
            .arg(part)
            .env("ROOT", &root)
            .env("LIBRARIES", libraries(&root))
            .env("SHIM", shim)
            .env("DOCTOR", BINARY)
            .env("DIRECTORY", run.directory());
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Some(Self { run, said })
    }

    fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.run.directory().join(name));
        text.unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.said))
    }

    /// Exit status and text of a look.
    fn look(&self, name: &str) -> (String, String) {
        let text = self.read(&format!("{name}.look"));
        (self.read(&format!("{name}.status")).trim().to_owned(), text)
    }

    fn is_accepted(&self, attempt: &str) -> bool {
        self.read(&format!("{attempt}.sshd"))
            .contains("Accepted gssapi-with-mic for alice")
    }
}

/// Builds `heimdal.c`, by which OpenSSH's client runs on Heimdal, and `late.c`, by which a clock is
/// late.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn shim(test: &str, directory: &Path) -> Option<PathBuf> {
    let shim = directory.join("shim");
    fs::create_dir(&shim).expect("a directory");
    let map = directory.join("shim.map");
    fs::write(&map, "gssapi_krb5_2_MIT { gss_*; GSS_*; };\n").expect("written");
    let versions = format!("-Wl,--version-script={}", map.display());
    let name = "-Wl,-soname,libgssapi_krb5.so.2";
    let built = build(
        "heimdal.c",
        &shim.join("libgssapi_krb5.so.2"),
        &[name, &versions],
    ) && build("late.c", &shim.join("late.so"), &[]);
    if !built {
        eprintln!("skipped {test}: no C compiler (apt-get install gcc libc6-dev)");
    }
    built.then_some(shim)
}

fn build(source: &str, library: &Path, options: &[&str]) -> bool {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC"])
        .args(options)
        .arg("-o")
        .arg(library);
    let built = compiler.arg(directory.join(source)).arg("-ldl").status();
    built.is_ok_and(|status| status.success())
}

#[test]
fn the_articles_fault_is_reproduced_named_cured_and_quiet_afterwards() {
    let Some(realm) = Realm::of("doctor::kerberos des3", "des3") else {
        return;
    };
    assert!(realm.is_accepted("plain"), "{}", realm.read("plain.sshd"));
    // The server: all is right but the key's type.
    let (status, text) = realm.look("server");
    assert_eq!(status, "1", "{text}");
    for seen in [
        "kerberos/name: ok: a.example.org",
        "kerberos/dns: ok",
        "kerberos/kdc: ok",
        "kerberos/clock: ok",
        "kerberos/ticket: ok: host/a.example.org@MYREALM, version 1",
        "kerberos/sshd: ok",
        "the host has no AES key",
        "kerberos/des3-mic: ok: MIT sends the right MIC",
    ] {
        assert!(text.contains(seen), "{seen}\n{text}");
    }
    // The client: an old Heimdal's ways.
    assert!(!realm.is_accepted("broken"));
    assert!(
        realm
            .read("broken.sshd")
            .contains("GSSAPI MIC check failed")
    );
    let (status, text) = realm.look("log");
    assert_eq!(status, "1");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("add to 10.77.0.1's krb5.conf, not to this machine's"),
        "{text}"
    );
    let (status, text) = realm.look("client");
    assert_eq!(status, "1", "{text}");
    assert!(
        text.contains("+    correct_des3_mic = host/*@MYREALM"),
        "{text}"
    );
    assert!(realm.is_accepted("mended"), "{}", realm.read("mended.sshd"));
    assert_eq!(realm.look("quiet"), ("0".to_owned(), String::new()));
}

#[test]
fn with_aes_keys_the_doctor_is_quiet_and_stale_keys_and_dead_or_late_kdcs_are_told() {
    let Some(realm) = Realm::of("doctor::kerberos aes", "aes") else {
        return;
    };
    // The old ways do no harm.
    assert!(realm.is_accepted("broken"), "{}", realm.read("broken.sshd"));
    assert_eq!(realm.look("server"), ("0".to_owned(), String::new()));
    let (status, text) = realm.look("stale");
    assert_eq!(status, "1", "{text}");
    assert!(
        text.contains("the keytab's key has version 1, the KDC's 2"),
        "{text}"
    );
    let (status, text) = realm.look("dead");
    assert_eq!(status, "1", "{text}");
    assert!(text.contains("no KDC answers at 10.77.0.1"), "{text}");
    let (status, text) = realm.look("late");
    assert_eq!(status, "1", "{text}");
    assert!(
        text.contains("s ahead of the KDC's; 300 s are allowed"),
        "{text}"
    );
}
