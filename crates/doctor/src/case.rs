//! Names that somebody may have meant.

/// The one of `known` that `word` is a slip of: at most two letters added, left out or wrong.
pub(crate) fn meant<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let near = known.iter().map(|name| (distance(&word, name), *name));
    near.filter(|(distance, name)| *distance <= 2 && *distance < name.len() / 2)
        .min()
        .map(|(_, name)| name)
}

/// Letters to add, leave out or change. Words longer than a name has are far from all of them.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST {
        return usize::MAX;
    }
    strsim::levenshtein(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let known = ["libdefaults", "realms", "domain_realm"];
        assert_eq!(meant("libdefault", &known), Some("libdefaults"));
        assert_eq!(meant("Domain-Realm", &known), Some("domain_realm"));
        assert_eq!(meant("logging", &known), None);
        assert_eq!(meant(&"x".repeat(10_000), &known), None);
    }
}
