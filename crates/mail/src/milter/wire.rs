//! Frames, commands and replies of the milter protocol (libmilter's `mfdef.h`): a big-endian
//! length, a command byte, its data.

use std::net::IpAddr;

/// Bytes of a frame that are kept: a piece of body, which libmilter bounds at 65,535, and its command.
pub const FRAME_MAX: usize = 65_536;
/// Bytes of the longest frame: the most that the protocol can agree on (`SMFIP_MDS_1M`). Postfix agrees on
/// nothing and sends a header whole, up to its `header_size_limit` (102,400). The rest is passed over.
pub const FRAME_LONGEST: usize = 1 << 20;
/// Commands whose frames may be longer than [`FRAME_MAX`], because clients choose their length: a header, of
/// which the name comes first, a piece of body, an unknown command, the end of the text.
const LONG: [u8; 4] = *b"LBUE";
/// The oldest version that libmilter still speaks.
const VERSION_MIN: u32 = 2;
/// The protocol's newest version.
const VERSION: u32 = 6;
/// Action: add headers.
const ADD_HEADERS: u32 = 0x01;
/// Action: change headers.
const CHANGE_HEADERS: u32 = 0x10;
/// Steps that are not wanted: body, unknown commands, DATA.
const SKIPPED_STEPS: u32 = 0x10 | 0x100 | 0x200;
/// Refused recipients are told too.
const REJECTED_RECIPIENTS: u32 = 0x800;
/// Steps that get no reply, where the server can do without: the flag of each command.
const SILENT: [(u8, u32); 7] = [
    (b'C', 0x1000),
    (b'H', 0x2000),
    (b'M', 0x4000),
    (b'R', 0x8000),
    (b'T', 0x10000),
    (b'N', 0x40000),
    (b'L', 0x80),
];

/// The stream broke the protocol: a frame without command, or one that is too long for its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

/// Collects frames.
#[derive(Debug, Default)]
pub struct Frames {
    unfinished: Vec<u8>,
    /// Bytes of the last frame that are still to come and not kept.
    passed_over: usize,
}

impl Frames {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        let nobodys = self.passed_over.min(bytes.len());
        self.passed_over -= nobodys;
        self.unfinished
            .extend_from_slice(bytes.get(nobodys..).unwrap_or_default());
    }

    /// The next frame, command byte first; of a longer one the first [`FRAME_MAX`] bytes.
    ///
    /// # Errors
    /// When what stands next can be none.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, BadFrame> {
        let Some((length, _)) = self.unfinished.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BadFrame)?;
        if length == 0 || length > FRAME_LONGEST {
            return Err(BadFrame);
        }
        let code = self.unfinished.get(4);
        if length > FRAME_MAX && code.is_some_and(|code| !LONG.contains(code)) {
            return Err(BadFrame);
        }
        let kept = length.min(FRAME_MAX).saturating_add(4);
        let Some(frame) = self.unfinished.get(4..kept) else {
            return Ok(None);
        };
        let frame = frame.to_vec();
        let end = length.saturating_add(4);
        let here = end.min(self.unfinished.len());
        self.unfinished.drain(..here);
        self.passed_over = end - here;
        Ok(Some(frame))
    }
}

/// What the two sides agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiation {
    version: u32,
    actions: u32,
    steps: u32,
}

impl Negotiation {
    /// What we want of what was offered.
    #[must_use]
    pub fn chosen(self) -> Self {
        let silent: u32 = SILENT.iter().map(|(_, flag)| flag).sum();
        Self {
            version: self.version.min(VERSION),
            actions: self.actions & (ADD_HEADERS | CHANGE_HEADERS),
            steps: self.steps & (SKIPPED_STEPS | REJECTED_RECIPIENTS | silent),
        }
    }

    /// Whether we speak the server's version.
    #[must_use]
    pub const fn is_spoken(self) -> bool {
        self.version >= VERSION_MIN
    }

    /// Whether the server lets us add headers.
    #[must_use]
    pub const fn may_add(self) -> bool {
        self.actions & ADD_HEADERS != 0
    }

    /// Whether it lets us take headers out.
    #[must_use]
    pub const fn may_change(self) -> bool {
        self.actions & CHANGE_HEADERS != 0
    }

    /// Whether the server waits for a reply to `command`.
    #[must_use]
    pub fn wants_reply(self, command: u8) -> bool {
        let flag = SILENT.iter().find(|(code, _)| *code == command);
        flag.is_none_or(|(_, flag)| self.steps & flag == 0)
    }
}

/// The macros of a step, as `name`, `value` pairs.
#[derive(Clone, Copy, Debug)]
pub struct Macros<'a> {
    data: &'a [u8],
}

impl<'a> Macros<'a> {
    /// The pairs; those that are not UTF-8 are passed over.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut strings = self.data.split(|byte| *byte == 0);
        std::iter::from_fn(move || Some((strings.next()?, strings.next()?))).filter_map(
            |(name, value)| {
                Some((
                    std::str::from_utf8(name).ok()?,
                    std::str::from_utf8(value).ok()?,
                ))
            },
        )
    }
}

/// What the server says.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `O`: what it can do.
    Negotiate(Negotiation),
    /// `D`: macros of the step that follows.
    Macros(Macros<'a>),
    /// `C`: a client has connected.
    Connect {
        /// Its address, unless it has none (a UNIX socket).
        address: Option<IpAddr>,
        /// Its port.
        port: Option<u16>,
    },
    /// `M`: MAIL FROM.
    Mail,
    /// `R`: RCPT TO.
    Recipient,
    /// `L`: one header of the message.
    Header {
        /// Its name.
        name: &'a str,
    },
    /// `E`: the end of the message.
    EndOfMessage,
    /// `A`: the message is given up, the connection is not.
    Abort,
    /// `Q`: the end.
    Quit,
    /// `K`: the end of this client; another one may come by this connection.
    QuitNewConnection,
    /// Anything else that the server waits for.
    Other(u8),
}

impl<'a> Command<'a> {
    /// Reads a frame; nothing when it is too short for its command.
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (code, data) = frame.split_first()?;
        Some(match code {
            b'O' => Self::Negotiate(Negotiation {
                version: number(data, 0)?,
                actions: number(data, 4)?,
                steps: number(data, 8)?,
            }),
            b'D' => Self::Macros(Macros {
                data: data.get(1..)?,
            }),
            b'C' => connect(data)?,
            b'M' => Self::Mail,
            b'R' => Self::Recipient,
            b'L' => Self::Header {
                name: std::str::from_utf8(data.split(|byte| *byte == 0).next()?).unwrap_or(""),
            },
            b'E' => Self::EndOfMessage,
            b'A' => Self::Abort,
            b'Q' => Self::Quit,
            b'K' => Self::QuitNewConnection,
            other => Self::Other(*other),
        })
    }

    /// Its command byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Negotiate(_) => b'O',
            Self::Macros(_) => b'D',
            Self::Connect { .. } => b'C',
            Self::Mail => b'M',
            Self::Recipient => b'R',
            Self::Header { .. } => b'L',
            Self::EndOfMessage => b'E',
            Self::Abort => b'A',
            Self::Quit => b'Q',
            Self::QuitNewConnection => b'K',
            Self::Other(code) => code,
        }
    }
}

/// Host name, family (`4`, `6`, `L`, `U`), port, address.
fn connect(data: &[u8]) -> Option<Command<'_>> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let (family, rest) = data.get(end.saturating_add(1)..)?.split_first()?;
    if !matches!(family, b'4' | b'6') {
        return Some(Command::Connect {
            address: None,
            port: None,
        });
    }
    let (port, address) = rest.split_first_chunk()?;
    let address = std::str::from_utf8(address.split(|byte| *byte == 0).next()?).ok()?;
    let address = address.strip_prefix("IPv6:").unwrap_or(address);
    Some(Command::Connect {
        address: address.parse().ok(),
        port: Some(u16::from_be_bytes(*port)),
    })
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// What we say.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// `O`: what we want.
    Negotiate(Negotiation),
    /// `c`: go on.
    Continue,
    /// `m` with an empty value: the `number`th header of that name goes. Counts from 1.
    DeleteHeader {
        /// The header's name.
        name: &'a str,
        /// Which of that name.
        number: u32,
    },
    /// `i`: a header before all others.
    InsertHeader {
        /// Its name.
        name: &'a str,
        /// Its value.
        value: &'a str,
    },
}

impl Reply<'_> {
    /// Appends the frame.
    pub fn write(self, output: &mut Vec<u8>) {
        let start = output.len();
        output.extend_from_slice(&[0; 4]);
        match self {
            Self::Negotiate(chosen) => {
                output.push(b'O');
                for word in [chosen.version, chosen.actions, chosen.steps] {
                    output.extend_from_slice(&word.to_be_bytes());
                }
            }
            Self::Continue => output.push(b'c'),
            Self::DeleteHeader { name, number } => header(output, b'm', number, name, ""),
            Self::InsertHeader { name, value } => header(output, b'i', 0, name, value),
        }
        let length = u32::try_from(output.len() - start - 4).unwrap_or(0);
        output[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn header(output: &mut Vec<u8>, code: u8, number: u32, name: &str, value: &str) {
    output.push(code);
    output.extend_from_slice(&number.to_be_bytes());
    for text in [name, value] {
        output.extend_from_slice(text.as_bytes());
        output.push(0);
    }
}
