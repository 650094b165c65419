//! Encryption types: the numbers of the IANA registry, and how good they are.

/// How good one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Single DES: gone since MIT 1.18 (RFC 6649).
    Des,
    /// RC4: deprecated (RFC 8429).
    Rc4,
    /// Triple DES: deprecated (RFC 8429). Its MIC is the one that old Heimdals get wrong.
    Des3,
    /// AES or Camellia.
    Strong,
    /// Not in the table.
    Unknown,
}

const TABLE: &[(i32, &str, Family)] = &[
    (1, "des-cbc-crc", Family::Des),
    (2, "des-cbc-md4", Family::Des),
    (3, "des-cbc-md5", Family::Des),
    (16, "des3-cbc-sha1", Family::Des3),
    (17, "aes128-cts-hmac-sha1-96", Family::Strong),
    (18, "aes256-cts-hmac-sha1-96", Family::Strong),
    (19, "aes128-cts-hmac-sha256-128", Family::Strong),
    (20, "aes256-cts-hmac-sha384-192", Family::Strong),
    (23, "arcfour-hmac", Family::Rc4),
    (24, "arcfour-hmac-exp", Family::Rc4),
    (25, "camellia128-cts-cmac", Family::Strong),
    (26, "camellia256-cts-cmac", Family::Strong),
];

/// What a request asks for: everything, the best first.
pub(crate) const ALL: [i32; 12] = [20, 19, 18, 17, 26, 25, 16, 23, 24, 3, 1, 2];

/// Names beside the table's: aliases of MIT and Heimdal, and whole families.
const ALIASES: &[(&str, Family)] = &[
    ("aes", Family::Strong),
    ("aes128-cts", Family::Strong),
    ("aes256-cts", Family::Strong),
    ("aes128-sha1", Family::Strong),
    ("aes256-sha1", Family::Strong),
    ("aes128-sha2", Family::Strong),
    ("aes256-sha2", Family::Strong),
    ("camellia", Family::Strong),
    ("des3", Family::Des3),
    ("des3-hmac-sha1", Family::Des3),
    ("des3-cbc-sha1-kd", Family::Des3),
    ("rc4", Family::Rc4),
    ("rc4-hmac", Family::Rc4),
    ("arcfour-hmac-md5", Family::Rc4),
    ("des", Family::Des),
];

/// The family of a number.
#[must_use]
pub fn family(number: i32) -> Family {
    let row = TABLE.iter().find(|(of, ..)| *of == number);
    row.map_or(Family::Unknown, |(.., family)| *family)
}

/// The name of a number.
#[must_use]
pub fn name(number: i32) -> String {
    let row = TABLE.iter().find(|(of, ..)| *of == number);
    row.map_or_else(
        || format!("encryption type {number}"),
        |(_, name, _)| (*name).to_owned(),
    )
}

/// The families that a list of a krb5.conf names. `DEFAULT` stands for what the library has:
/// strong ones; what is taken away with `-` does not count.
pub(crate) fn families(list: &str) -> Vec<Family> {
    let words = list.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    words
        .filter(|word| !word.starts_with('-'))
        .map(|word| {
            let word = word.trim_start_matches('+').to_ascii_lowercase();
            if word == "default" {
                return Family::Strong;
            }
            let row = TABLE.iter().find(|(_, name, _)| *name == word);
            let alias = || {
                ALIASES
                    .iter()
                    .find(|(name, _)| *name == word)
                    .map(|(_, f)| *f)
            };
            row.map(|(.., family)| *family)
                .or_else(alias)
                .unwrap_or(Family::Unknown)
        })
        .collect()
}
