//! ARCHITECTURE.md leads to every module, and to none that is gone.

use std::collections::BTreeSet;
use std::fs;

use super::root;

/// What a path in the document begins with if it is one from the root of the repository.
const DIRECTORIES: [&str; 6] = ["crates/", "contrib/", "data/", "docs/", "fuzz/", "scripts/"];

/// What stands between backquotes outside of drawings and commands.
fn quoted() -> Vec<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the document");
    let prose = text.split("```").step_by(2);
    let quoted = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    quoted.map(str::to_owned).collect()
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn each(path: &str) -> Vec<String> {
    let braces = path.split_once('{').and_then(|(before, rest)| {
        let (names, behind) = rest.split_once('}')?;
        Some((before, names, behind))
    });
    let Some((before, names, behind)) = braces else {
        return vec![path.to_owned()];
    };
    let names = names.split(',');
    names
        .map(|name| format!("{before}{name}{behind}"))
        .collect()
}

/// The modules right below `src` of each crate.
fn modules() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("crates")).expect("crates") {
        let entry = entry.expect("an entry");
        let owner = entry.file_name().to_string_lossy().into_owned();
        for source in fs::read_dir(entry.path().join("src")).expect("sources") {
            let path = source.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            if !matches!(name.as_ref(), "lib" | "main") {
                found.insert((owner.clone(), name.into_owned()));
            }
        }
    }
    found
}

#[test]
fn the_code_map_names_every_module() {
    let quoted = quoted();
    let words = quoted
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let named: BTreeSet<&str> = words.collect();
    let modules = modules();
    assert!(modules.len() > 100, "{} modules", modules.len());
    let missing: Vec<_> = modules
        .iter()
        .filter(|(_, module)| !named.contains(module.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in ARCHITECTURE.md: {missing:?}");
}

#[test]
fn every_path_in_the_code_map_is_there() {
    let paths = quoted().into_iter().filter(|text| {
        let is_path = DIRECTORIES.iter().any(|it| text.starts_with(it));
        is_path && !text.contains(' ')
    });
    let paths: Vec<String> = paths.flat_map(|path| each(&path)).collect();
    assert!(paths.len() > 50, "{} paths", paths.len());
    for path in paths {
        assert!(root().join(&path).exists(), "{path} is gone");
    }
}
