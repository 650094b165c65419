//! The variables that Debian's `envvars` sets before httpd is started.

use std::collections::BTreeMap;

/// The variables of an `envvars` file: its `export NAME=VALUE` and `NAME=VALUE` lines, with
/// `$NAME` and `${NAME}` of lines before put in. Conditions are not followed: `$SUFFIX`, which
/// only a second instance has, is empty.
#[must_use]
pub fn envvars(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim();
        let Some((name, value)) = assignment.split_once('=') else {
            continue;
        };
        if is_name(name) {
            let value = value.trim().trim_matches(['"', '\'']);
            let value = substitute(value, &variables);
            variables.insert(name.to_owned(), value);
        }
    }
    variables
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn substitute(value: &str, variables: &BTreeMap<String, String>) -> String {
    const LONGEST: usize = 4096;
    let mut pieces = value.split('$');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = match piece.strip_prefix('{').and_then(|p| p.split_once('}')) {
            Some(braced) => braced,
            None => piece.split_at(name_len(piece)),
        };
        result.push_str(variables.get(name).map_or("", String::as_str));
        result.push_str(rest);
        if result.len() > LONGEST {
            return String::new();
        }
    }
    result
}

fn name_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::envvars;

    #[test]
    fn debians_envvars_are_read() {
        let variables = envvars(
            "unset HOME\nif [ \"${APACHE_CONFDIR##/etc/apache2-}\" != x ] ; then\n\tSUFFIX=\n\
             export APACHE_RUN_USER=www-data\nexport APACHE_LOG_DIR=/var/log/apache2$SUFFIX\n\
             export TWICE=${APACHE_LOG_DIR}/${APACHE_RUN_USER}\n",
        );
        assert_eq!(variables["APACHE_LOG_DIR"], "/var/log/apache2");
        assert_eq!(variables["TWICE"], "/var/log/apache2/www-data");
    }
}
