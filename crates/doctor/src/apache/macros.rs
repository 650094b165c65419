//! `mod_macro`: `<Macro NAME $a …>` … `</Macro>`, `Use NAME value …`.

use super::lexer::Line;
use crate::limits::{MAX_FILE_LEN, MAX_WORD_LEN};

/// A macro.
#[derive(Clone, Debug)]
pub(crate) struct Macro {
    /// Its parameters, with their `$`, `%` or `@`.
    pub(crate) parameters: Vec<String>,
    /// Its lines.
    pub(crate) body: Vec<Line>,
}

impl Macro {
    /// Its lines with values in place of parameters, or a sentence why not. The lines have no
    /// text of their own in the file.
    pub(crate) fn expand(&self, values: &[String]) -> Result<Vec<Line>, String> {
        if values.len() != self.parameters.len() {
            return Err(format!(
                "the macro takes {} values and {} are given",
                self.parameters.len(),
                values.len()
            ));
        }
        // A longer parameter first: `$ab` is not `$a` and a b.
        let mut pairs: Vec<_> = self.parameters.iter().zip(values).collect();
        pairs.sort_by_key(|(parameter, _)| std::cmp::Reverse(parameter.len()));
        let mut len = 0;
        let line = |line: &Line| {
            let mut text = line.text.clone();
            for (name, value) in &pairs {
                text = text.replace(name.as_str(), value);
                if text.len() > MAX_WORD_LEN {
                    return Err("a line of the macro becomes too long".to_owned());
                }
            }
            len += text.len();
            if len > MAX_FILE_LEN {
                return Err("the macro becomes too long".to_owned());
            }
            Ok(Line {
                first: line.first,
                raw: Vec::new(),
                text,
            })
        };
        self.body.iter().map(line).collect()
    }
}
