//! Names of systems and links. They come from signatures, so there are few; slots refer to them by
//! number. A number keeps its text for as long as the file is used.

use std::collections::BTreeMap;

use super::{Fields, PAGE_LEN, Source, take, unsealed};
use crate::answer::{Label, is_plain};

/// Texts of a file: p0f's has 80 labels and links.
pub const TEXTS: usize = 1024;
/// Bytes of one.
pub const TEXT_LEN: usize = 256;
/// Bytes of class, name and flavor together.
const WORDS_MAX: usize = TEXT_LEN - super::CHECKSUM_LEN - 3;

/// The numbers that were given.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<Label, u16>);

/// A text and where it is to be written if it is new.
pub(super) enum Numbered {
    Known(u16),
    New(u16, u64, Box<[u8; TEXT_LEN]>),
    /// There is no room for it.
    Full,
}

impl Texts {
    pub(super) fn number(&mut self, label: &Label) -> Numbered {
        if let Some(number) = self.0.get(label) {
            return Numbered::Known(*number);
        }
        let number = u16::try_from(self.0.len() + 1).unwrap_or(u16::MAX);
        let (Some(offset), Some(bytes)) = (offset(number), bytes(label)) else {
            return Numbered::Full;
        };
        self.0.insert(label.clone(), number);
        Numbered::New(number, offset, Box::new(bytes))
    }
}

/// Texts are numbered from 1.
fn offset(number: u16) -> Option<u64> {
    let place = number.checked_sub(1).map(usize::from)?;
    let offset = PAGE_LEN + place * TEXT_LEN;
    (place < TEXTS).then_some(offset as u64)
}

fn bytes(label: &Label) -> Option<[u8; TEXT_LEN]> {
    let words = [&label.class, &label.name, &label.flavor];
    if words.iter().map(|word| word.len()).sum::<usize>() > WORDS_MAX {
        return None;
    }
    let mut fields = Fields::new();
    for word in words {
        fields.put(&[u8::try_from(word.len()).ok()?]);
    }
    for word in words {
        fields.put(word.as_bytes());
    }
    Some(fields.sealed())
}

/// The text `number`, if it is one that may be shown to anybody.
pub(super) fn read(number: u16, source: &mut impl Source) -> Option<Label> {
    let offset = offset(number)?;
    let mut bytes = [0; TEXT_LEN];
    for _ in 0..super::ATTEMPTS {
        if !source.read(offset, &mut bytes) {
            return None;
        }
        if let Some(rest) = unsealed(&bytes) {
            return label(rest);
        }
    }
    None
}

fn label(mut rest: &[u8]) -> Option<Label> {
    let lengths: [u8; 3] = take(&mut rest)?;
    let mut word = |length: u8| {
        let (word, behind) = rest.split_at_checked(length.into())?;
        rest = behind;
        let word = std::str::from_utf8(word).ok()?;
        is_plain(word).then(|| word.to_owned())
    };
    let [class, name, flavor] = lengths;
    Some(Label {
        class: word(class)?,
        name: word(name)?,
        flavor: word(flavor)?,
    })
}
