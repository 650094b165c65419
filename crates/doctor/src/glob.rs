//! fnmatch(3) without its flags: `*`, `?`, `[…]`, `\`.

/// Whether all of `text` matches `pattern`. Takes at most the product of their lengths.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            retry = Some((p, t));
        } else if let Some(next) = one(&pattern, p, text.get(t).copied()) {
            p = next;
            t += 1;
        } else if let Some((behind, from)) = retry {
            (p, t) = (behind, from + 1);
            retry = Some((behind, from + 1));
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Where the pattern goes on when its element at `at` takes `c`.
fn one(pattern: &[char], at: usize, c: Option<char>) -> Option<usize> {
    let c = c?;
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '\\' => (pattern.get(at + 1) == Some(&c)).then_some(at + 2),
        '[' => bracket(pattern, at, c).unwrap_or_else(|| (c == '[').then_some(at + 1)),
        literal => (*literal == c).then_some(at + 1),
    }
}

/// A bracket expression; none when it does not end, and is a `[` then.
#[expect(
    clippy::option_option,
    reason = "no bracket, and a bracket that does not match, differ"
)]
fn bracket(pattern: &[char], at: usize, c: char) -> Option<Option<usize>> {
    let negated = matches!(pattern.get(at + 1), Some('!' | '^'));
    let first = at + 1 + usize::from(negated);
    let end = pattern
        .iter()
        .skip(first + 1)
        .position(|c| *c == ']')
        .map(|offset| first + 1 + offset)?;
    let members = pattern.get(first..end)?;
    let within = members.contains(&c)
        || members
            .windows(3)
            .any(|range| matches!(range, [low, '-', high] if (*low..=*high).contains(&c)));
    Some((within != negated).then_some(end + 1))
}

/// Whether `pattern` is one, and not a plain name.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.config", false),
            ("host/*@REALM", "host/a.example.org@REALM", true),
            ("HTTP/*@REALM", "host/a.example.org@REALM", false),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[", "[", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_a_moment() {
        let pattern = "*a".repeat(1000) + "b";
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }
}
