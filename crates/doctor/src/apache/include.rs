//! `Include` and `IncludeOptional`: files, directories, patterns in any component.

use crate::files::{Files, join};
use crate::glob::{is_pattern, matches};
use crate::limits::{MAX_DEPTH, MAX_FILES};

/// The files that `path` names, seen from `root`: itself, what a pattern matches, and everything
/// below a directory; in httpd's order, by name. Empty when there is none.
pub(crate) fn find(path: &str, root: &str, files: &dyn Files) -> Vec<String> {
    let path = join(root, path);
    let mut found = vec![String::new()];
    for component in path.split('/').filter(|component| !component.is_empty()) {
        found = found
            .iter()
            .flat_map(|directory| step(directory, component, files))
            .take(MAX_FILES)
            .collect();
    }
    let mut all = Vec::new();
    for path in found {
        descend(&path, files, 0, &mut all);
    }
    all
}

/// What of `directory` a component names.
fn step(directory: &str, component: &str, files: &dyn Files) -> Vec<String> {
    if !is_pattern(component) {
        return vec![format!("{directory}/{component}")];
    }
    let searched = if directory.is_empty() { "/" } else { directory };
    let mut names: Vec<String> = files
        .list(searched)
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| matches(component, &entry.name))
        .map(|entry| format!("{directory}/{}", entry.name))
        .collect();
    names.sort();
    names
}

/// A file, or the files below a directory.
fn descend(path: &str, files: &dyn Files, depth: usize, all: &mut Vec<String>) {
    if all.len() >= MAX_FILES || depth > MAX_DEPTH {
        return;
    }
    let Ok(mut entries) = files.list(path) else {
        if files.read(path).is_ok() || depth == 0 {
            all.push(path.to_owned());
        }
        return;
    };
    entries.sort();
    for entry in entries {
        let path = format!("{path}/{}", entry.name);
        if entry.directory {
            descend(&path, files, depth + 1, all);
        } else if all.len() < MAX_FILES {
            all.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::files::MemoryFiles;

    #[test]
    fn patterns_match_in_every_component_and_directories_are_walked() {
        let files = MemoryFiles::of(&[
            ("/e/sites/b.conf", ""),
            ("/e/sites/a.conf", ""),
            ("/e/sites/a.bak", ""),
            ("/e/other/sub/c.conf", ""),
        ]);
        assert_eq!(
            find("sites/*.conf", "/e", &files),
            ["/e/sites/a.conf", "/e/sites/b.conf"]
        );
        assert_eq!(find("/e/*/*/*.conf", "/", &files), ["/e/other/sub/c.conf"]);
        assert_eq!(
            find("/e", "/", &files),
            [
                "/e/other/sub/c.conf",
                "/e/sites/a.bak",
                "/e/sites/a.conf",
                "/e/sites/b.conf"
            ]
        );
        assert!(find("*.none", "/e", &files).is_empty());
        assert_eq!(find("missing", "/e", &files), ["/e/missing"]);
    }
}
