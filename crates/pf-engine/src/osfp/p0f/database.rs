//! The file: sections of labels with their signatures.

use super::label::Label;
use super::signature::{self, Signature};
use crate::osfp::features::{Kind, OptionLayout};

/// Bytes of a name or flavour: p0f's answers have 32 for each.
const TEXT_MAX: usize = 64;
/// Signatures in all; p0f's own file has 200.
const SIGNATURES_MAX: usize = 65_536;
/// Errors that are told of one file.
const ERRORS_MAX: usize = 50;

/// Which part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `[mtu]`: link types.
    Mtu,
    /// `[tcp:request]`: SYNs.
    Request,
    /// `[tcp:response]`: SYN+ACKs.
    Response,
    /// `[http:request]`, `[http:response]`: read past, nothing here looks at payload.
    Http,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column of what is wrong, from 1, in characters.
    pub column: u32,
    /// What, with the offending text.
    pub message: String,
}

/// All signatures of one or more files.
#[derive(Clone, Debug, Default)]
pub struct Database {
    labels: Vec<Label>,
    signatures: Vec<Signature>,
    requests: Index,
    responses: Index,
    links: Vec<(u16, String)>,
}

/// Places of signatures by the kinds of their options, sorted by these.
#[derive(Clone, Debug, Default)]
struct Index(Vec<(Vec<u8>, Vec<u32>)>);

impl Index {
    fn add(&mut self, kinds: &[u8], place: u32) {
        match self.search(kinds) {
            Ok(at) => {
                if let Some((_, places)) = self.0.get_mut(at) {
                    places.push(place);
                }
            }
            Err(at) => self.0.insert(at, (kinds.to_vec(), vec![place])),
        }
    }

    fn find(&self, kinds: &[u8]) -> &[u32] {
        let found = self.search(kinds).ok().and_then(|at| self.0.get(at));
        found.map_or(&[], |(_, places)| places)
    }

    fn search(&self, kinds: &[u8]) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(known, _)| known.as_slice().cmp(kinds))
    }
}

/// The signatures that the program brings along.
const OWN: &str = include_str!("../../../../../data/weighbridge.fp");

impl Database {
    /// The program's own signatures.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "the text is a constant that a test reads"
    )]
    pub fn own() -> Self {
        Self::parse(OWN).expect("the program's own signatures have no errors")
    }

    /// Reads `text`. Signatures are tried in the order in which they stand.
    ///
    /// # Errors
    /// All that is wrong, up to a bound; then nothing was read.
    pub fn parse(text: &str) -> Result<Self, Vec<ParseError>> {
        let mut database = Self::default();
        database.extend(text)?;
        Ok(database)
    }

    /// Reads `text` behind what is there: a site's own signatures.
    ///
    /// # Errors
    /// As [`Self::parse`]; what was there stays as it was.
    pub fn extend(&mut self, text: &str) -> Result<(), Vec<ParseError>> {
        self.read(text, Covered::Error)
    }

    /// The same, but what is covered by signatures that stand there already is left out: for who
    /// puts a site's own before those of others.
    ///
    /// # Errors
    /// As [`Self::parse`]; what was there stays as it was.
    pub fn extend_where_new(&mut self, text: &str) -> Result<(), Vec<ParseError>> {
        self.read(text, Covered::LeftOut)
    }

    /// Adds the program's own signatures behind what is there.
    pub fn extend_with_own(&mut self) {
        // A test reads them.
        let _ = self.extend_where_new(OWN);
    }

    fn read(&mut self, text: &str, covered: Covered) -> Result<(), Vec<ParseError>> {
        let mut reader = Reader {
            covered,
            database: self.clone(),
            section: None,
            label: None,
            link: None,
            errors: Vec::new(),
        };
        for (number, line) in (1..).zip(text.lines()) {
            reader.line(number, line);
        }
        if reader.errors.is_empty() {
            *self = reader.database;
            Ok(())
        } else {
            Err(reader.errors)
        }
    }

    /// The signature at `place`.
    #[must_use]
    pub fn signature(&self, place: u32) -> Option<&Signature> {
        self.signatures.get(usize::try_from(place).ok()?)
    }

    /// The label of the signature at `place`.
    #[must_use]
    pub fn label_of(&self, place: u32) -> Option<&Label> {
        let label = self.signature(place)?.label;
        self.labels.get(usize::try_from(label).ok()?)
    }

    /// All labels, in the order of the file.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// All signatures, in the order of the file.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The link type that has this MTU.
    #[must_use]
    pub fn link(&self, mtu: u32) -> Option<&str> {
        let found = self
            .links
            .iter()
            .find(|(known, _)| u32::from(*known) == mtu);
        found.map(|(_, name)| name.as_str())
    }

    pub(super) fn candidates(&self, kind: Kind, layout: &OptionLayout) -> &[u32] {
        match kind {
            Kind::Syn => self.requests.find(layout.kinds()),
            Kind::SynAck => self.responses.find(layout.kinds()),
        }
    }
}

/// What becomes of a signature that another covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covered {
    Error,
    LeftOut,
}

/// The label that signatures belong to.
#[derive(Clone, Copy, Debug)]
struct Open {
    number: u32,
    /// It is a last resort.
    generic: bool,
}

struct Reader {
    covered: Covered,
    database: Database,
    section: Option<Section>,
    label: Option<Open>,
    link: Option<String>,
    errors: Vec<ParseError>,
}

impl Reader {
    fn line(&mut self, number: u32, line: &str) {
        let text = line.trim();
        if text.is_empty() || text.starts_with(';') || self.errors.len() >= ERRORS_MAX {
            return;
        }
        if let Err((offending, message)) = self.statement(number, text) {
            let at = line.find(offending).unwrap_or(0);
            let before = line.get(..at).unwrap_or_default().chars().count();
            let column = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
            self.errors.push(ParseError {
                line: number,
                column,
                message,
            });
        }
    }

    fn statement<'t>(&mut self, number: u32, text: &'t str) -> Result<(), (&'t str, String)> {
        if let Some(name) = text.strip_prefix('[') {
            return self.open_section(name.trim_end_matches(']'), text);
        }
        let (name, value) = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .ok_or_else(|| (text, format!("expected NAME = VALUE, found \"{text}\"")))?;
        let result = match (name, self.section) {
            ("classes" | "ua_os", _) | (_, Some(Section::Http)) | ("sys", Some(_)) => Ok(()),
            ("label", Some(Section::Mtu)) => self.link_label(value),
            ("sig", Some(Section::Mtu)) => self.link_signature(value),
            ("label", Some(_)) => self.open_label(value),
            ("sig", Some(section)) => self.signature(section, number, value),
            ("label" | "sig" | "sys", None) => Err("it stands before the first section".to_owned()),
            _ => {
                return Err((
                    name,
                    format!("unknown name \"{name}\": use label, sys, sig, classes or ua_os"),
                ));
            }
        };
        result.map_err(|message| (value, message))
    }

    fn open_section<'t>(&mut self, name: &str, text: &'t str) -> Result<(), (&'t str, String)> {
        self.section = Some(match name {
            "mtu" => Section::Mtu,
            "tcp:request" => Section::Request,
            "tcp:response" => Section::Response,
            "http:request" | "http:response" => Section::Http,
            _ => {
                let message = format!(
                    "unknown section \"{name}\": use mtu, tcp:request, tcp:response, \
                     http:request or http:response"
                );
                return Err((text, message));
            }
        });
        self.label = None;
        self.link = None;
        Ok(())
    }

    fn link_label(&mut self, value: &str) -> Result<(), String> {
        self.link = Some(checked(value)?);
        Ok(())
    }

    fn link_signature(&mut self, value: &str) -> Result<(), String> {
        let link = self.link.clone().ok_or("a signature without label")?;
        let mtu: u16 = value
            .parse()
            .map_err(|_| format!("expected an MTU, found \"{value}\""))?;
        if let Some(known) = self.database.link(u32::from(mtu)) {
            if self.covered == Covered::LeftOut {
                return Ok(());
            }
            return Err(format!("MTU {mtu} is \"{known}\" already"));
        }
        self.database.links.push((mtu, link));
        Ok(())
    }

    fn open_label(&mut self, value: &str) -> Result<(), String> {
        let fields: Vec<&str> = value.splitn(4, ':').collect();
        let [kind, class, name, flavor] = fields.as_slice() else {
            return Err(format!(
                "expected type:class:name:flavor, found \"{value}\""
            ));
        };
        let generic = match *kind {
            "s" => false,
            "g" => true,
            other => return Err(format!("expected s or g, found \"{other}\"")),
        };
        let label = Label {
            class: checked(class)?,
            name: checked(name)?,
            flavor: if flavor.is_empty() {
                String::new()
            } else {
                checked(flavor)?
            },
        };
        let number = u32::try_from(self.database.labels.len()).unwrap_or(u32::MAX);
        self.label = Some(Open { number, generic });
        self.database.labels.push(label);
        Ok(())
    }

    fn signature(&mut self, section: Section, line: u32, value: &str) -> Result<(), String> {
        let label = self.label.ok_or("a signature without label")?;
        let database = &mut self.database;
        if database.signatures.len() >= SIGNATURES_MAX {
            return Err(format!("more than {SIGNATURES_MAX} signatures"));
        }
        let mut signature = signature::parse(value)?;
        signature.generic = label.generic;
        signature.label = label.number;
        signature.line = line;
        let place = u32::try_from(database.signatures.len()).unwrap_or(u32::MAX);
        let index = match section {
            Section::Response => &mut database.responses,
            Section::Request | Section::Mtu | Section::Http => &mut database.requests,
        };
        let alike = index.find(signature.layout.kinds()).iter();
        let mut known = alike.filter_map(|at| database.signatures.get(usize::try_from(*at).ok()?));
        if let Some(known) = known.find(|known| known.matches_the_same(&signature)) {
            if self.covered == Covered::LeftOut {
                return Ok(());
            }
            let line = known.line;
            return Err(format!("the signature is already covered by line {line}"));
        }
        index.add(signature.layout.kinds(), place);
        database.signatures.push(signature);
        Ok(())
    }
}

/// Names may hold what p0f allows and a terminal cannot mistake.
fn checked(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ./-_!?(),+#@".contains(c);
    if text.is_empty() || text.len() > TEXT_MAX || !text.chars().all(allowed) {
        return Err(format!(
            "\"{}\" is no name: 1 to {TEXT_MAX} letters, digits, blanks and ./-_!?(),+#@",
            text.escape_default()
        ));
    }
    Ok(text.to_owned())
}
