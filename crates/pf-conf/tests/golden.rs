//! Our own cases. `golden/NAME.in` is read in each dialect and must print `NAME.ok` (FreeBSD),
//! `NAME.openbsd` and `NAME.openbsd3`; what was printed must print itself again. `errors/NAME.in`
//! must give the messages of `NAME.ok`. `UPDATE_GOLDEN=1` writes what was found.

use std::path::{Path, PathBuf};

use pf_conf::{
    Code, Diagnostics, LoadOptions, Loaded, PrintOptions, SourceReader, Telling, load, preview,
};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::ruleset::Dialect;

struct Directory(PathBuf);

impl SourceReader for Directory {
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

fn cases(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("the directory is readable")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".in").map(str::to_owned))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

/// Address, prefix length, broadcast or peer.
type Configured = (&'static str, u8, Option<&'static str>);

fn interface(index: u32, name: &str, group: &str, addresses: &[Configured]) -> Interface {
    let point_to_point = name.starts_with("ppp");
    Interface {
        groups: vec![group.to_owned()],
        addresses: addresses
            .iter()
            .map(|(address, prefix_len, other)| {
                let other = other.map(|other| other.parse().expect("an address"));
                InterfaceAddress {
                    broadcast: other.filter(|_| !point_to_point),
                    peer: other.filter(|_| point_to_point),
                    ..InterfaceAddress::new(address.parse().expect("an address"), *prefix_len)
                }
            })
            .collect(),
        ..Interface::new(IfIndex(index), name)
    }
}

fn interfaces() -> Vec<Interface> {
    vec![
        interface(
            1,
            "lo0",
            "lo",
            &[("127.0.0.1", 8, None), ("::1", 128, None)],
        ),
        interface(
            2,
            "em0",
            "em",
            &[
                ("fe80::1", 64, None),
                ("192.0.2.1", 24, Some("192.0.2.255")),
                ("192.0.2.2", 24, Some("192.0.2.255")),
                ("2001:db8::1", 64, None),
            ],
        ),
        interface(3, "em1", "lan", &[]),
        interface(4, "em2", "lan", &[("10.9.9.9", 8, None)]),
        interface(
            5,
            "ppp0",
            "ppp",
            &[("198.51.100.2", 32, Some("198.51.100.1"))],
        ),
    ]
}

fn read(
    directory: &Path,
    name: &str,
    text: &[u8],
    dialect: Dialect,
) -> Result<Loaded, Diagnostics> {
    let options = LoadOptions {
        dialect,
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    load(name, text, &mut Directory(directory.to_owned()), &options)
}

fn printed(loaded: &Loaded) -> String {
    let telling = Telling {
        print: PrintOptions {
            dialect: loaded.ruleset.dialect,
            ..PrintOptions::default()
        },
        ..Telling::default()
    };
    loaded
        .told(&telling)
        .into_iter()
        .map(|told| told.text)
        .collect()
}

/// Without the part of the names of automatic tables that a preview does not have.
fn without_digest(text: &str) -> String {
    const PREFIX: &str = "__automatic_";
    let mut parts = text.split(PREFIX);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + PREFIX + &part["01234567_".len()..]
    })
}

/// What [`preview`] prints, or its errors.
fn preview_of(
    directory: &Path,
    name: &str,
    text: &[u8],
    dialect: Dialect,
) -> Result<String, Diagnostics> {
    let options = LoadOptions {
        dialect,
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    let print = PrintOptions {
        dialect,
        ..PrintOptions::default()
    };
    let mut files = Directory(directory.to_owned());
    let lines = preview(name, text, &mut files, &options, print)?;
    Ok(lines.join("\n") + "\n")
}

fn previewed(directory: &Path, name: &str, text: &[u8], dialect: Dialect) -> String {
    preview_of(directory, name, text, dialect).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn what_cannot_be_installed_yet_is_printed_in_a_preview() {
    for (name, dialect) in [
        ("preview", Dialect::FreeBsd),
        ("preview-openbsd", Dialect::OpenBsd),
        ("preview-openbsd3", Dialect::OpenBsd3),
    ] {
        previews(&directory(name), dialect);
    }
}

fn previews(directory: &Path, dialect: Dialect) {
    let mut failures = Vec::new();
    for case in cases(directory) {
        let text = std::fs::read(directory.join(format!("{case}.in"))).expect("a readable file");
        let Err(errors) = read(directory, &case, &text, dialect) else {
            panic!("{case} can be installed")
        };
        let unsupported = errors
            .iter()
            .filter(|(_, error)| error.code == Code::NotSupported);
        assert_eq!(unsupported.count(), errors.count(), "{errors}");
        let found = previewed(directory, &case, &text, dialect);
        failures.extend(compare(&directory.join(format!("{case}.ok")), &found));
        let again = previewed(directory, &case, found.as_bytes(), dialect);
        assert_eq!(again, found, "{case}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Compares with the file, or writes it.
fn compare(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, found).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    (expected != found).then(|| format!("{}:\n{found}", path.display()))
}

#[test]
fn what_one_dialect_alone_reads_prints_as_the_golden_files_say() {
    let directory = directory("golden-openbsd");
    let mut failures = Vec::new();
    for case in cases(&directory) {
        let text = std::fs::read(directory.join(format!("{case}.in"))).expect("a readable file");
        let loaded = read(&directory, &case, &text, Dialect::OpenBsd)
            .unwrap_or_else(|errors| panic!("{case}:\n{errors}"));
        let found = without_digest(&printed(&loaded));
        failures.extend(compare(&directory.join(format!("{case}.ok")), &found));
        let again = previewed(&directory, &case, &text, Dialect::OpenBsd);
        assert_eq!(again, found, "{case}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn rules_print_as_the_golden_files_say() {
    let directory = directory("golden");
    let mut failures = Vec::new();
    for case in cases(&directory) {
        let text = std::fs::read(directory.join(format!("{case}.in"))).expect("a readable file");
        for (dialect, suffix) in [
            (Dialect::FreeBsd, "ok"),
            (Dialect::OpenBsd, "openbsd"),
            (Dialect::OpenBsd3, "openbsd3"),
        ] {
            let loaded = read(&directory, &case, &text, dialect)
                .unwrap_or_else(|errors| panic!("{case} in {dialect:?}:\n{errors}"));
            let found = without_digest(&printed(&loaded));
            failures.extend(compare(&directory.join(format!("{case}.{suffix}")), &found));
            assert_eq!(
                previewed(&directory, &case, &text, dialect),
                found,
                "{case}"
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_was_printed_prints_itself_again() {
    let directory = directory("golden");
    for case in cases(&directory) {
        let text = std::fs::read(directory.join(format!("{case}.in"))).expect("a readable file");
        for dialect in [Dialect::FreeBsd, Dialect::OpenBsd, Dialect::OpenBsd3] {
            let first =
                read(&directory, &case, &text, dialect).unwrap_or_else(|errors| panic!("{errors}"));
            let printed_once = printed(&first);
            let again = read(&directory, &case, printed_once.as_bytes(), dialect).unwrap_or_else(
                |errors| panic!("{case} in {dialect:?}:\n{errors}\n{printed_once}"),
            );
            assert_eq!(printed(&again), printed_once, "{case} in {dialect:?}");
            assert_eq!(
                again.ruleset.filter, first.ruleset.filter,
                "{case} in {dialect:?}"
            );
            assert_eq!(
                again.ruleset.nat, first.ruleset.nat,
                "{case} in {dialect:?}"
            );
            assert_eq!(
                again.ruleset.rdr, first.ruleset.rdr,
                "{case} in {dialect:?}"
            );
            assert_eq!(
                again.ruleset.binat, first.ruleset.binat,
                "{case} in {dialect:?}"
            );
            assert_eq!(
                again.ruleset.anchors, first.ruleset.anchors,
                "{case} in {dialect:?}"
            );
            assert_eq!(
                again.ruleset.tables.keys().count(),
                first.ruleset.tables.len()
            );
        }
    }
}

#[test]
fn errors_read_as_the_golden_files_say() {
    errors_read(&directory("errors"), |directory, name, text| {
        read(directory, name, text, Dialect::FreeBsd).map(|_| ())
    });
}

#[test]
fn errors_in_what_cannot_be_installed_read_as_the_golden_files_say() {
    for (name, dialect) in [
        ("preview-errors", Dialect::FreeBsd),
        ("preview-errors-openbsd", Dialect::OpenBsd),
    ] {
        errors_read(&directory(name), |directory, name, text| {
            preview_of(directory, name, text, dialect).map(|_| ())
        });
    }
}

fn errors_read(directory: &Path, read: impl Fn(&Path, &str, &[u8]) -> Result<(), Diagnostics>) {
    let mut failures = Vec::new();
    for case in cases(directory) {
        let name = format!("{case}.in");
        let text = std::fs::read(directory.join(&name)).expect("a readable file");
        let Err(errors) = read(directory, &name, &text) else {
            panic!("{name} has no error")
        };
        let plain = directory.join(format!("{case}.ok"));
        failures.extend(compare(&plain, &errors.plain()));
        let rendered = directory.join(format!("{case}.rendered"));
        failures.extend(compare(&rendered, &errors.rendered(false)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
