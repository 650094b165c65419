//! What is asked of a KDC, and what it answers (RFC 4120): a request without any proof of who
//! asks, so that no secret is needed. The answer has the KDC's clock, and the encryption types of
//! the principal.

use super::der::{
    BIT_STRING, OCTET_STRING, SEQUENCE, STRING, TIME, application, context, each, field, integer,
    number, only, sequence, text, time, value,
};
use super::encryption;
use super::principal::Principal;
use crate::finding::shorten;
use crate::limits::MAX_MESSAGE_LEN;

/// Error codes that are looked at (RFC 4120, 7.5.9).
pub(crate) mod code {
    pub(crate) const CLIENT_UNKNOWN: i64 = 6;
    pub(crate) const SERVER_UNKNOWN: i64 = 7;
    pub(crate) const ENCRYPTION_NOT_SUPPORTED: i64 = 14;
    pub(crate) const CLIENT_REVOKED: i64 = 18;
    pub(crate) const WRONG_REALM: i64 = 68;
}

/// `PA-ETYPE-INFO2` and `PA-ETYPE-INFO` (RFC 4120, 7.5.2).
const ETYPE_INFO: [i64; 2] = [19, 11];

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `KRB-ERROR`.
    Error {
        /// Its code.
        code: i64,
        /// The KDC's clock, in microseconds since 1970.
        server_time: i64,
        /// The realm that answered.
        realm: String,
        /// What the KDC says of it.
        text: Option<String>,
        /// Encryption types of the client's keys, the preferred one first; empty when the KDC
        /// does not tell.
        encryptions: Vec<i32>,
    },
    /// `AS-REP`: the principal needs no proof, so its ticket came at once.
    Ticket {
        /// The realm that answered.
        realm: String,
        /// Encryption type of the client's key.
        encryption: i32,
        /// Version of the client's key; of a ticket for the client itself that of the ticket's key,
        /// which is the same.
        kvno: Option<u32>,
    },
}

/// An `AS-REQ` of `client` for a ticket of `service`. `nonce` is a number that no request before
/// had.
#[must_use]
pub fn as_request(client: &Principal, service: &Principal, nonce: u32) -> Vec<u8> {
    const INITIAL_REQUEST: i64 = 10;
    const PRINCIPAL: i64 = 1;
    const INSTANCE: i64 = 2;
    let types: Vec<Vec<u8>> = encryption::ALL
        .iter()
        .map(|e| integer(i64::from(*e)))
        .collect();
    let body = sequence(&[
        tagged(0, &value(BIT_STRING, &[0, 0, 0, 0, 0])),
        tagged(1, &name(client, PRINCIPAL)),
        tagged(2, &value(STRING, client.realm.as_bytes())),
        tagged(3, &name(service, INSTANCE)),
        // The first second of all: as long as the KDC grants (RFC 4120, 3.1.3).
        tagged(5, &value(TIME, b"19700101000000Z")),
        tagged(7, &integer(i64::from(nonce & 0x7fff_ffff))),
        tagged(8, &sequence(&types)),
    ]);
    let request = sequence(&[
        tagged(1, &integer(5)),
        tagged(2, &integer(INITIAL_REQUEST)),
        tagged(4, &body),
    ]);
    value(application(10), &request)
}

fn tagged(number: u8, content: &[u8]) -> Vec<u8> {
    value(context(number), content)
}

fn name(principal: &Principal, kind: i64) -> Vec<u8> {
    let parts = principal.components.iter();
    let parts: Vec<Vec<u8>> = parts.map(|part| value(STRING, part.as_bytes())).collect();
    sequence(&[tagged(0, &integer(kind)), tagged(1, &sequence(&parts))])
}

impl Reply {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it is none, in a sentence.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_MESSAGE_LEN {
            return Err(format!("an answer of more than {MAX_MESSAGE_LEN} bytes"));
        }
        if let Some(error) = only(bytes, application(30)) {
            return read_error(error).ok_or_else(|| "a malformed KRB-ERROR".to_owned());
        }
        if let Some(reply) = only(bytes, application(11)) {
            return read_ticket(reply).ok_or_else(|| "a malformed AS-REP".to_owned());
        }
        Err("neither KRB-ERROR nor AS-REP: no KDC answers there".to_owned())
    }
}

fn read_error(bytes: &[u8]) -> Option<Reply> {
    let content = only(bytes, SEQUENCE)?;
    if number(content, 0)? != 5 || number(content, 1)? != 30 {
        return None;
    }
    let micros = number(content, 5)?;
    if !(0..1_000_000).contains(&micros) {
        return None;
    }
    Some(Reply::Error {
        code: number(content, 6)?,
        server_time: time(content, 4)? * 1_000_000 + micros,
        realm: shorten(&text(content, 9)?),
        text: text(content, 11).map(|text| shorten(&text)),
        encryptions: field(content, 12).map(encryptions).unwrap_or_default(),
    })
}

/// The types in an error's data, where that is METHOD-DATA.
fn encryptions(data: &[u8]) -> Vec<i32> {
    let methods = only(data, OCTET_STRING).and_then(|data| only(data, SEQUENCE));
    let methods = methods.unwrap_or_default();
    let of_kind = |kind: i64| {
        let method = each(methods)
            .map(|(_, method)| method)
            .find(|method| number(method, 1) == Some(kind))?;
        let list = only(only(field(method, 2)?, OCTET_STRING)?, SEQUENCE)?;
        let types = each(list).filter_map(|(_, entry)| i32::try_from(number(entry, 0)?).ok());
        Some(types.collect::<Vec<_>>())
    };
    ETYPE_INFO.into_iter().find_map(of_kind).unwrap_or_default()
}

fn read_ticket(bytes: &[u8]) -> Option<Reply> {
    let content = only(bytes, SEQUENCE)?;
    if number(content, 0)? != 5 || number(content, 1)? != 11 {
        return None;
    }
    let sealed = only(field(content, 6)?, SEQUENCE)?;
    Some(Reply::Ticket {
        realm: shorten(&text(content, 3)?),
        encryption: i32::try_from(number(sealed, 0)?).ok()?,
        kvno: version(sealed).or_else(|| own_ticket_version(content)),
    })
}

/// The version of the key of an `EncryptedData`. MIT's KDC leaves that of the client's key out.
fn version(sealed: &[u8]) -> Option<u32> {
    number(sealed, 1).and_then(|kvno| u32::try_from(kvno).ok())
}

/// That of the ticket's key, when the ticket is for who asked.
fn own_ticket_version(reply: &[u8]) -> Option<u32> {
    let ticket = only(only(field(reply, 5)?, application(1))?, SEQUENCE)?;
    let names = |content, number| field(only(field(content, number)?, SEQUENCE)?, 1);
    let own = names(ticket, 2)? == names(reply, 4)?;
    version(only(field(ticket, 3)?, SEQUENCE)?).filter(|_| own)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A KRB-ERROR as a KDC sends it.
    pub(crate) fn error(code: i64, server_time: &str, types: &[i64]) -> Vec<u8> {
        let entries: Vec<Vec<u8>> = types
            .iter()
            .map(|t| sequence(&[tagged(0, &integer(*t))]))
            .collect();
        let method = sequence(&[
            tagged(1, &integer(19)),
            tagged(2, &value(OCTET_STRING, &sequence(&entries))),
        ]);
        let mut fields = vec![
            tagged(0, &integer(5)),
            tagged(1, &integer(30)),
            tagged(4, &value(TIME, server_time.as_bytes())),
            tagged(5, &integer(250_000)),
            tagged(6, &integer(code)),
            tagged(9, &value(STRING, b"MYREALM")),
            tagged(
                10,
                &name(&Principal::service("krbtgt", "MYREALM", "MYREALM"), 2),
            ),
            tagged(11, &value(STRING, b"NEEDED_PREAUTH")),
        ];
        if !types.is_empty() {
            fields.push(tagged(12, &value(OCTET_STRING, &sequence(&[method]))));
        }
        value(application(30), &sequence(&fields))
    }

    /// An AS-REP whose client key has this type and version.
    pub(crate) fn ticket(encryption: i64, kvno: i64) -> Vec<u8> {
        let sealed = sequence(&[
            tagged(0, &integer(encryption)),
            tagged(1, &integer(kvno)),
            tagged(2, &value(OCTET_STRING, b"sealed")),
        ]);
        let fields = [
            tagged(0, &integer(5)),
            tagged(1, &integer(11)),
            tagged(3, &value(STRING, b"MYREALM")),
            tagged(6, &sealed),
        ];
        value(application(11), &sequence(&fields))
    }

    #[test]
    fn an_error_gives_the_clock_and_the_types_of_the_principals_keys() {
        let reply = Reply::read(&error(25, "20261128025424Z", &[18, 16])).unwrap();
        assert_eq!(
            reply,
            Reply::Error {
                code: 25,
                server_time: 1_795_834_464_250_000,
                realm: "MYREALM".into(),
                text: Some("NEEDED_PREAUTH".into()),
                encryptions: vec![18, 16],
            }
        );
    }

    #[test]
    fn a_ticket_gives_type_and_version_of_the_key() {
        assert_eq!(
            Reply::read(&ticket(16, 3)).unwrap(),
            Reply::Ticket {
                realm: "MYREALM".into(),
                encryption: 16,
                kvno: Some(3)
            }
        );
    }

    #[test]
    fn the_version_of_a_ticket_counts_when_it_is_for_who_asked() {
        let host = name(&Principal::parse("host/a"), 2);
        let reply = |client: &[u8]| {
            let sealed = |fields: &[Vec<u8>]| {
                let cipher = tagged(2, &value(OCTET_STRING, b"sealed"));
                sequence(&[fields.concat(), cipher])
            };
            let ticket = sequence(&[
                tagged(0, &integer(5)),
                tagged(1, &value(STRING, b"MYREALM")),
                tagged(2, &host),
                tagged(
                    3,
                    &sealed(&[tagged(0, &integer(18)), tagged(1, &integer(9))]),
                ),
            ]);
            let fields = [
                tagged(0, &integer(5)),
                tagged(1, &integer(11)),
                tagged(3, &value(STRING, b"MYREALM")),
                tagged(4, client),
                tagged(5, &value(application(1), &ticket)),
                tagged(6, &sealed(&[tagged(0, &integer(18))])),
            ];
            let reply = Reply::read(&value(application(11), &sequence(&fields)));
            match reply.unwrap() {
                Reply::Ticket { kvno, .. } => kvno,
                Reply::Error { .. } => panic!("no ticket"),
            }
        };
        assert_eq!(reply(&name(&Principal::parse("host/a"), 1)), Some(9));
        assert_eq!(reply(&name(&Principal::parse("host/b"), 1)), None);
    }

    #[test]
    fn what_is_cut_off_or_nothing_of_the_kind_is_refused() {
        let whole = error(25, "20261128025424Z", &[18]);
        for len in 0..whole.len() {
            assert!(Reply::read(&whole[..len]).is_err(), "{len}");
        }
        assert!(Reply::read(b"HTTP/1.1 400 Bad Request").is_err());
        assert!(Reply::read(&error(25, "20261128025424X", &[])).is_err());
    }

    #[test]
    fn a_request_is_an_as_req_with_its_names() {
        let host = Principal::parse("host/a.example.org@MYREALM");
        let request = as_request(&host, &host, 7);
        let body = only(only(&request, application(10)).unwrap(), SEQUENCE).unwrap();
        assert_eq!((number(body, 1), number(body, 2)), (Some(5), Some(10)));
        let body = only(field(body, 4).unwrap(), SEQUENCE).unwrap();
        assert_eq!(text(body, 2).as_deref(), Some("MYREALM"));
        assert_eq!(number(body, 7), Some(7));
    }
}
