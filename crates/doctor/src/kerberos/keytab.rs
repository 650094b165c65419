//! Keytabs: versions 5.1 (native byte order) and 5.2 (big-endian).

use super::principal::Principal;
use crate::limits::MAX_KEYTAB_ENTRIES;

/// A key; the key itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub principal: Principal,
    /// Its version.
    pub kvno: u32,
    /// Its encryption type's number.
    pub encryption: i32,
    /// When it was put in, in seconds since 1970.
    pub time: u32,
}

/// A keytab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keytab {
    /// Its keys in their order.
    pub entries: Vec<Entry>,
    /// Deleted entries.
    pub holes: usize,
    /// What broke the reading off, if it did; the entries before are sound.
    pub damage: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V1Little,
    V1Big,
    V2,
}

impl Keytab {
    /// Reads one.
    ///
    /// # Errors
    /// When it is no keytab, in a sentence.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        match bytes {
            [5, 2, rest @ ..] => Ok(entries(rest, Format::V2)),
            [5, 1, rest @ ..] => {
                let little = entries(rest, Format::V1Little);
                if little.damage.is_none() {
                    return Ok(little);
                }
                let big = entries(rest, Format::V1Big);
                let better = big.entries.len() > little.entries.len() || big.damage.is_none();
                Ok(if better { big } else { little })
            }
            [5, version, ..] => Err(format!(
                "keytab of version 5.{version}; 5.1 and 5.2 are known"
            )),
            [] => Err("the keytab is empty".to_owned()),
            _ => Err("this is no keytab: it begins with another byte than 5".to_owned()),
        }
    }

    /// The keys of a principal; realm and components compared as they are.
    pub fn of<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.principal == *principal)
    }
}

fn entries(bytes: &[u8], format: Format) -> Keytab {
    let mut keytab = Keytab::default();
    let mut rest = Cursor { bytes, format };
    while !rest.bytes.is_empty() {
        if keytab.entries.len() + keytab.holes >= MAX_KEYTAB_ENTRIES {
            keytab.damage = Some(format!("more than {MAX_KEYTAB_ENTRIES} entries"));
            break;
        }
        let Some(len) = rest.u32().map(u32::cast_signed) else {
            keytab.damage = Some("it ends within the length of an entry".to_owned());
            break;
        };
        if len == 0 {
            break;
        }
        let Some(content) = rest.take(len.unsigned_abs() as usize) else {
            keytab.damage = Some(format!(
                "it ends within an entry of {} bytes",
                len.unsigned_abs()
            ));
            break;
        };
        if len < 0 {
            keytab.holes += 1;
            continue;
        }
        let Some(entry) = entry(Cursor {
            bytes: content,
            format,
        }) else {
            let number = keytab.entries.len() + 1;
            keytab.damage = Some(format!("entry {number} is shorter than what it holds"));
            break;
        };
        keytab.entries.push(entry);
    }
    keytab
}

fn entry(mut cursor: Cursor<'_>) -> Option<Entry> {
    let count = cursor.u16()?;
    // Version 1 counts the realm as a component.
    let count = match cursor.format {
        Format::V2 => count,
        Format::V1Little | Format::V1Big => count.checked_sub(1)?,
    };
    let realm = cursor.text()?;
    let mut components = Vec::new();
    for _ in 0..count {
        components.push(cursor.text()?);
    }
    if cursor.format == Format::V2 {
        cursor.u32()?; // Type of the name.
    }
    let time = cursor.u32()?;
    let short = cursor.take(1)?.first().copied()?;
    let encryption = i32::from(cursor.u16()?.cast_signed());
    let len = cursor.u16()?;
    cursor.take(usize::from(len))?;
    let kvno = match cursor.u32() {
        Some(long) if long != 0 => long,
        Some(_) | None => u32::from(short),
    };
    Some(Entry {
        principal: Principal { components, realm },
        kvno,
        encryption,
        time,
    })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    format: Format,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.first_chunk().copied()?;
        Some(match self.format {
            Format::V1Little => u16::from_le_bytes(bytes),
            Format::V1Big | Format::V2 => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.first_chunk().copied()?;
        Some(match self.format {
            Format::V1Little => u32::from_le_bytes(bytes),
            Format::V1Big | Format::V2 => u32::from_be_bytes(bytes),
        })
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        let bytes = self.take(usize::from(len))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A keytab of version 5.2 with these keys.
    pub(crate) fn keytab(keys: &[(&str, u32, i32)]) -> Vec<u8> {
        let mut bytes = vec![5, 2];
        for (principal, kvno, encryption) in keys {
            let entry = one(&Principal::parse(principal), *kvno, *encryption);
            bytes.extend(u32::try_from(entry.len()).unwrap().to_be_bytes());
            bytes.extend(entry);
        }
        bytes
    }

    fn one(principal: &Principal, kvno: u32, encryption: i32) -> Vec<u8> {
        let mut entry = u16::try_from(principal.components.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        for text in std::iter::once(&principal.realm).chain(&principal.components) {
            entry.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            entry.extend(text.bytes());
        }
        entry.extend([0, 0, 0, 1, 0, 0, 0, 9, u8::try_from(kvno & 0xff).unwrap()]);
        entry.extend(u16::try_from(encryption).unwrap().to_be_bytes());
        entry.extend([0, 2, 0xaa, 0xbb]);
        entry.extend(kvno.to_be_bytes());
        entry
    }

    #[test]
    fn entries_holes_and_long_versions_are_read() {
        let mut bytes = keytab(&[("host/a@R", 3, 18), ("host/a@R", 300, 16)]);
        bytes.extend((-3i32).to_be_bytes());
        bytes.extend([1, 2, 3]);
        bytes.extend([0, 0, 0, 0, 9, 9]);
        let keytab = Keytab::read(&bytes).unwrap();
        assert_eq!((keytab.holes, keytab.damage.as_deref()), (1, None));
        let kvnos: Vec<_> = keytab
            .of(&Principal::parse("host/a@R"))
            .map(|e| (e.kvno, e.encryption))
            .collect();
        assert_eq!(kvnos, [(3, 18), (300, 16)]);
    }

    #[test]
    fn version_one_is_read_in_either_byte_order() {
        let little = b"\x05\x01\x1a\0\0\0\x02\0\x01\0R\x04\0host\x09\0\0\0\x07\x10\0\x02\0\xaa\xbb";
        // 2 components with the realm, realm, one name, time, kvno 7, type 16, key of 2.
        let mut bytes = little.to_vec();
        bytes[2] = u8::try_from(bytes.len() - 6).unwrap();
        let keytab = Keytab::read(&bytes).unwrap();
        assert_eq!(keytab.entries[0].principal.to_string(), "host@R");
        assert_eq!(
            (keytab.entries[0].kvno, keytab.entries[0].encryption),
            (7, 16)
        );
        let big = b"\x05\x01\0\0\0\x16\0\x02\0\x01R\0\x04host\0\0\0\x09\x07\0\x10\0\x02\xaa\xbb";
        assert_eq!(Keytab::read(big).unwrap().entries[0], keytab.entries[0]);
    }

    #[test]
    fn what_is_cut_off_keeps_the_entries_before() {
        let bytes = keytab(&[("host/a@R", 3, 18), ("host/b@R", 3, 18)]);
        for len in 2..bytes.len() {
            let keytab = Keytab::read(&bytes[..len]).unwrap();
            assert!(keytab.entries.len() < 2);
        }
        assert!(
            Keytab::read(b"").is_err()
                && Keytab::read(b"\x05\x03").is_err()
                && Keytab::read(b"[lib").is_err()
        );
    }
}
