//! `weighbridge check` over published configurations: quiet where nothing is wrong.

use std::path::{Path, PathBuf};

use pf_conf::{LoadOptions, SourceReader, WarningKind, check};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::ruleset::Dialect;

const ARTICLE: &str = include_str!("../../lab/article/pf.conf");

struct Directory(PathBuf);

impl SourceReader for Directory {
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }
}

fn interfaces() -> Vec<Interface> {
    let names = [
        "lo0", "em0", "em1", "em2", "re0", "re1", "vr0", "fxp0", "xl0", "bge0", "bge1", "vtnet0",
        "sis0", "en0", "en1", "egress", "igb0", "igb1", "vio0", "athn0", "tun0", "wlan0", "pppoe0",
    ];
    let one = |(name, index): (&&str, u32)| Interface {
        addresses: vec![InterfaceAddress::new(
            [192, 0, 2, index.to_le_bytes()[0]].into(),
            24,
        )],
        ..Interface::new(IfIndex(index), *name)
    };
    names.iter().zip(1..).map(one).collect()
}

#[test]
fn the_articles_rules_are_not_complained_of() {
    for dialect in [Dialect::OpenBsd3, Dialect::FreeBsd] {
        for switch in ["#", ""] {
            let text = ARTICLE.replace("dsl_enable = \"#\"", &format!("dsl_enable = \"{switch}\""));
            let options = LoadOptions {
                dialect,
                interfaces: interfaces(),
                ..LoadOptions::default()
            };
            let mut files = Directory(PathBuf::new());
            let checked = check("pf.conf", text.as_bytes(), &mut files, &options);
            let (_, warnings) = checked.unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(warnings.count(), 0, "{}", warnings.plain());
        }
    }
}

#[test]
fn published_configurations_are_warned_about_names_and_few_rules() {
    let given = std::env::var_os("WEIGHBRIDGE_CONFORMANCE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let directory = given
        .into_iter()
        .chain([beside])
        .map(|root| root.join("conformance/realworld-pfconf"))
        .find(|path| path.is_dir());
    let Some(directory) = directory else {
        println!("SKIPPED: no conformance suite (set WEIGHBRIDGE_CONFORMANCE)");
        return;
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("readable")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let (mut read, mut about_rules) = (0, 0);
    for path in paths {
        let text = std::fs::read(&path).expect("readable");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let options = LoadOptions {
            interfaces: interfaces(),
            ..LoadOptions::default()
        };
        let mut files = Directory(directory.clone());
        let Ok((_, warnings)) = check(&name, &text, &mut files, &options) else {
            continue;
        };
        read += 1;
        about_rules += usize::from(
            warnings
                .iter()
                .any(|(_, warning, _)| warning.kind < WarningKind::UnusedMacro),
        );
        print!("{}", warnings.plain());
    }
    println!("{read} read, {about_rules} with warnings about rules");
    assert!(about_rules * 3 < read, "{about_rules} of {read}");
}
