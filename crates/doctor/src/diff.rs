//! A unified diff of a text and its edited self.

use std::fmt::Write;

use crate::fix::Edit;

/// Lines that are shown around a change.
const CONTEXT: usize = 3;

/// The diff that `edits` make of the file `name` with `text`; empty without edits. The edits must
/// fit the text ([`crate::Fix`] checks that when they are made).
#[must_use]
pub fn unified(name: &str, text: &str, edits: &[&Edit]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut edits: Vec<&Edit> = edits.to_vec();
    edits.sort_by_key(|edit| edit.order());
    let mut diff = format!("--- {name}\n+++ {name}\n");
    let mut shift = 0;
    let mut rest = edits.as_slice();
    while let Some(count) = hunk_len(rest) {
        let (hunk, others) = rest.split_at(count);
        shift = write_hunk(&mut diff, &lines, hunk, shift);
        rest = others;
    }
    if edits.is_empty() {
        String::new()
    } else {
        diff
    }
}

fn first_of(edit: &Edit) -> usize {
    (edit.line as usize).saturating_sub(1)
}

/// How many edits share the first hunk: those whose context would touch.
fn hunk_len(edits: &[&Edit]) -> Option<usize> {
    let mut end = first_of(edits.first()?);
    let together = edits.iter().take_while(|edit| {
        let near = first_of(edit) <= end + 2 * CONTEXT;
        end = first_of(edit) + edit.old.len();
        near
    });
    Some(together.count().max(1))
}

/// Writes a hunk; returns by how many lines the new text is ahead behind it.
fn write_hunk(diff: &mut String, lines: &[&str], edits: &[&Edit], shift: isize) -> isize {
    let first = edits.first().map_or(0, |edit| first_of(edit));
    let last = edits
        .last()
        .map_or(0, |edit| first_of(edit) + edit.old.len());
    let start = first.saturating_sub(CONTEXT);
    let end = (last + CONTEXT).min(lines.len());
    let count = |part: fn(&Edit) -> usize| edits.iter().map(|edit| part(edit)).sum::<usize>();
    let (old, new) = (count(|edit| edit.old.len()), count(|edit| edit.new.len()));
    let len = end.saturating_sub(start);
    let new_start = start.saturating_add_signed(shift);
    let new_len = len + new - old.min(len);
    let one = |len: usize| usize::from(len > 0);
    let _ = writeln!(
        diff,
        "@@ -{},{len} +{},{new_len} @@",
        start + one(len),
        new_start + one(new_len)
    );
    let mut at = start;
    for edit in edits {
        context(diff, lines, at, first_of(edit));
        edit.old.iter().for_each(|line| put(diff, '-', line));
        edit.new.iter().for_each(|line| put(diff, '+', line));
        at = first_of(edit) + edit.old.len();
    }
    context(diff, lines, at, end);
    shift + new.cast_signed() - old.cast_signed()
}

fn context(diff: &mut String, lines: &[&str], from: usize, to: usize) {
    let kept = lines.get(from..to.min(lines.len())).unwrap_or_default();
    for line in kept {
        put(diff, ' ', line);
    }
}

fn put(diff: &mut String, mark: char, line: &str) {
    diff.push(mark);
    diff.push_str(line);
    diff.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_edits_share_a_hunk_and_far_ones_do_not() {
        let text: String = (1..=20).fold(String::new(), |text, n| text + &n.to_string() + "\n");
        let edit = |line: u32, new: &[&str]| Edit {
            file: "f".into(),
            line,
            old: vec![line.to_string()],
            new: new.iter().map(ToString::to_string).collect(),
        };
        let (a, b, c) = (edit(2, &["x", "y"]), edit(5, &[]), edit(18, &["z"]));
        assert_eq!(
            unified("f", &text, &[&c, &a, &b]),
            "--- f\n+++ f\n@@ -1,8 +1,8 @@\n 1\n-2\n+x\n+y\n 3\n 4\n-5\n 6\n 7\n 8\n\
             @@ -15,6 +15,6 @@\n 15\n 16\n 17\n-18\n+z\n 19\n 20\n"
        );
        assert_eq!(unified("f", &text, &[]), "");
    }

    #[test]
    fn an_empty_file_can_grow() {
        let edit = Edit::append("f", "", vec!["a".into()]);
        assert_eq!(
            unified("f", "", &[&edit]),
            "--- f\n+++ f\n@@ -0,0 +1,1 @@\n+a\n"
        );
    }
}
