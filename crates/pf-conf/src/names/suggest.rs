//! "Did you mean …?"

/// Names longer than this are not compared: the distance takes time quadratic in the length.
const LONGEST: usize = 64;
/// Names that are compared; a file may define millions of macros.
const MOST: usize = 10_000;

/// `did you mean 'x'?` for the candidate next to `name`, if one is near enough.
#[must_use]
pub fn did_you_mean<'a>(
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
        .map(|candidate| (difference(name, candidate), candidate))
        .min()?;
    let allowed = (name.chars().count() / 3).max(1);
    let ((changes, _), nearest) = nearest;
    (changes <= allowed).then(|| format!("did you mean '{nearest}'?"))
}

/// How many changes lie between two names, and whether they begin with different letters: of
/// names that are equally near, one that begins alike is likelier.
fn difference(a: &str, b: &str) -> (usize, bool) {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let begins_otherwise = a.chars().next() != b.chars().next();
    // Two letters swapped are one change.
    (strsim::osa_distance(&a, &b), begins_otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_swaps_count_whatever_the_case() {
        assert_eq!(difference("pass", "Pass").0, 0);
        assert_eq!(difference("pass", "psas").0, 1);
        assert_eq!(difference("block", "blok").0, 1);
    }

    #[test]
    fn the_nearest_name_is_suggested_and_far_ones_are_not() {
        assert_eq!(
            did_you_mean("pas", ["block", "pass"]).as_deref(),
            Some("did you mean 'pass'?")
        );
        assert_eq!(did_you_mean("xyzzy", ["block", "pass"]), None);
        assert_eq!(
            did_you_mean("htp", ["ftp", "http", "ntp"]).as_deref(),
            Some("did you mean 'http'?")
        );
    }
}
