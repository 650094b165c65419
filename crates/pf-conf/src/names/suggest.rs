//! "Did you mean …?"

/// Names longer than this are not compared: the distance takes time quadratic in the length.
const LONGEST: usize = 64;
/// Names that are compared; a file may define millions of macros.
const MOST: usize = 10_000;

/// `did you mean 'x'?` for the candidate next to `name`, if one is near enough.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let nearest = candidates
        .into_iter()
        .take(MOST)
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != name)
        .map(|candidate| (distance(name, candidate), candidate))
        .min()?;
    let allowed = (name.chars().count() / 3).max(1);
    (nearest.0 <= allowed).then(|| format!("did you mean '{}'?", nearest.1))
}

/// Damerau-Levenshtein distance, adjacent characters swapped at most once (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_ascii_lowercase().chars().collect();
    let b: Vec<char> = b.to_ascii_lowercase().chars().collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changes_and_swaps() {
        assert_eq!(distance("pass", "pass"), 0);
        assert_eq!(distance("pass", "psas"), 1);
        assert_eq!(distance("block", "blok"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn the_nearest_name_is_suggested_and_far_ones_are_not() {
        assert_eq!(
            did_you_mean("pas", ["block", "pass"]).as_deref(),
            Some("did you mean 'pass'?")
        );
        assert_eq!(did_you_mean("xyzzy", ["block", "pass"]), None);
    }
}
