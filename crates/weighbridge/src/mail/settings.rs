//! `mail.toml`: what the mail side serves, where, and for whom.

mod fleet;
mod reputation;
mod values;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mail::amavis::Style;
use mail::published::{ENTRIES, ENTRIES_MAX};
use serde::{Deserialize, Deserializer};

pub use self::fleet::FleetSettings;
pub use self::reputation::{DnsblSettings, ReputationSettings, TABLES_SOCKET, ThrottleSettings};

use crate::config::{Problem, read_text, toml_problem, unreadable};

/// The mail side's settings, in the configuration directory. The file need not exist.
pub const MAIL_FILE: &str = "mail.toml";
/// Clients of one socket that are served at the same time unless `clients` says otherwise.
pub const CLIENTS: usize = 256;
/// What `clients` may be: each costs a descriptor and a few kilobytes.
const CLIENTS_RANGE: std::ops::RangeInclusive<usize> = 1..=4096;
/// Permissions of a UNIX socket unless `mode` says otherwise: its owner and its group.
pub const SOCKET_MODE: u32 = 0o660;

/// Where the p0f API is served when there is no `mail.toml`.
pub const P0F_SOCKET: &str = "/run/weighbridge/p0f.sock";
/// Where `weighbridge os` asks unless told otherwise.
pub const OS_SOCKET: &str = "/run/weighbridge/os.sock";
/// Where answers are kept in memory with `[shared-memory]`.
pub const OS_TABLE: &str = "/run/weighbridge/os.shm";
/// Permissions of that file unless `mode` says otherwise.
const TABLE_MODE: u32 = 0o640;

/// The whole file. What is not named is not served.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct MailSettings {
    /// The API of p0f v3.
    pub p0f: Option<ServiceSettings>,
    /// One line asked, one answered: `weighbridge os`, Exim.
    pub text: Option<ServiceSettings>,
    /// Postfix' policy delegation.
    pub policy: Option<ServiceSettings>,
    /// Postfix' and Sendmail's milter.
    pub milter: Option<MilterSettings>,
    /// amavisd's fingerprint method.
    pub amavis: Option<AmavisSettings>,
    /// Answers, the report and outcomes by HTTP.
    pub http: Option<HttpSettings>,
    /// Answers in a file in memory.
    pub shared_memory: Option<SharedMemorySettings>,
    /// How outcomes are weighed.
    pub reputation: ReputationSettings,
    /// Who is put into a table of the packet filter.
    pub throttle: Option<ThrottleSettings>,
    /// The DNS list.
    pub dnsbl: Option<DnsblSettings>,
    /// Where the counts of several mail servers come together.
    pub postgres: Option<FleetSettings>,
}

impl MailSettings {
    /// What is served without a file: the p0f API and the text socket, for root and its group.
    #[must_use]
    pub fn without_file() -> Self {
        let at = |path: &str| {
            Some(ServiceSettings {
                listen: Listen {
                    socket: Some(path.into()),
                    ..Listen::default()
                },
            })
        };
        Self {
            p0f: at(P0F_SOCKET),
            text: at(OS_SOCKET),
            ..Self::default()
        }
    }

    /// A service that listens nowhere is a mistake.
    fn unheard(&self) -> Option<&'static str> {
        let services = [
            ("p0f", self.p0f.as_ref().map(|service| &service.listen)),
            ("text", self.text.as_ref().map(|service| &service.listen)),
            (
                "policy",
                self.policy.as_ref().map(|service| &service.listen),
            ),
            ("http", self.http.as_ref().map(|service| &service.listen)),
            (
                "milter",
                self.milter.as_ref().map(|service| &service.listen),
            ),
        ];
        let unheard = |listen: &Listen| listen.socket.is_none() && listen.address.is_none();
        let mut names = services.into_iter();
        names.find_map(|(name, listen)| listen.filter(|listen| unheard(listen)).map(|_| name))
    }
}

/// A service without options of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct ServiceSettings {
    /// Where.
    pub listen: Listen,
}

/// `[milter]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct MilterSettings {
    /// Where.
    pub listen: Listen,
    /// Whether what becomes of messages is reported.
    #[serde(default = "yes")]
    pub outcomes: bool,
}

const fn yes() -> bool {
    true
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct HttpSettings {
    /// Where.
    pub listen: Listen,
    /// Whether it may listen where other machines can ask.
    #[serde(default)]
    pub public: bool,
    /// Names by which it is called, beside `localhost` and addresses.
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl HttpSettings {
    /// Where other machines could ask though nobody said that they may.
    fn exposed(&self) -> Option<SocketAddr> {
        let address = self.listen.address.filter(|_| !self.public)?;
        (!address.ip().to_canonical().is_loopback()).then_some(address)
    }
}

/// `[amavis]`: datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct AmavisSettings {
    /// Address and port.
    #[serde(deserialize_with = "values::place")]
    pub address: SocketAddr,
    /// In whose words.
    #[serde(default)]
    pub style: AmavisStyle,
}

/// In whose words amavisd is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AmavisStyle {
    /// p0f v3.
    #[default]
    P0f3,
    /// p0f v2: what published `SpamAssassin` rules look for.
    P0f2,
}

impl From<AmavisStyle> for Style {
    fn from(style: AmavisStyle) -> Self {
        match style {
            AmavisStyle::P0f3 => Self::Three,
            AmavisStyle::P0f2 => Self::Two,
        }
    }
}

/// `[shared-memory]`: the answers in a file, for `libweighbridge-os`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct SharedMemorySettings {
    /// Its path; it should lie in memory (tmpfs), as `/run` does.
    pub file: PathBuf,
    /// Group whose members may read it.
    pub group: Option<String>,
    /// Permissions, as a string of octal digits. Nobody but the daemon may write.
    #[serde(deserialize_with = "read_only_mode")]
    pub mode: u32,
    /// Connections and addresses together that it has room for.
    #[serde(deserialize_with = "entries")]
    pub entries: usize,
}

impl Default for SharedMemorySettings {
    fn default() -> Self {
        Self {
            file: OS_TABLE.into(),
            group: None,
            mode: TABLE_MODE,
            entries: ENTRIES,
        }
    }
}

fn read_only_mode<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    let mode = mode(input)?.unwrap_or(TABLE_MODE);
    if mode & 0o022 == 0 {
        return Ok(mode);
    }
    Err(serde::de::Error::custom(format!(
        "\"{mode:04o}\" lets others write: readers would believe what they write; use \"0640\""
    )))
}

fn entries<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    values::number(input, 1..=ENTRIES_MAX)
}

/// Where one service listens: a UNIX socket, a TCP port, or both. Every service's table has these
/// keys (`#[serde(flatten)]` does not go with `deny_unknown_fields`: it is a field `listen`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    rename_all = "kebab-case",
    expecting = "a table, as { socket = \"PATH\" }"
)]
pub struct Listen {
    /// Path of a UNIX socket.
    pub socket: Option<PathBuf>,
    /// Group that owns the socket: its members may ask.
    pub group: Option<String>,
    /// Permissions of the socket, as a string of octal digits (`"0660"`).
    #[serde(deserialize_with = "mode")]
    pub mode: Option<u32>,
    /// Address and port of a TCP socket.
    #[serde(deserialize_with = "address")]
    pub address: Option<SocketAddr>,
    /// Clients served at the same time.
    #[serde(deserialize_with = "clients")]
    pub clients: Option<usize>,
}

fn mode<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(input)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Some(mode)),
        _ => Err(serde::de::Error::custom(format!(
            "\"{text}\" is no mode: three octal digits, as \"0660\""
        ))),
    }
}

fn address<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SocketAddr>, D::Error> {
    values::place(input).map(Some)
}

fn clients<'de, D: Deserializer<'de>>(input: D) -> Result<Option<usize>, D::Error> {
    values::number(input, CLIENTS_RANGE).map(Some)
}

/// Reads `mail.toml` of `dir`; without one there is [`MailSettings::without_file`].
///
/// # Errors
/// The first problem in it.
pub fn read(dir: &Path) -> Result<MailSettings, Problem> {
    let path = dir.join(MAIL_FILE);
    match read_text(&path) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MailSettings::without_file()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// Reads `text`, which stands in the file called `name`.
///
/// # Errors
/// The first problem in it.
pub fn parse(name: &str, text: &str) -> Result<MailSettings, Problem> {
    let settings: MailSettings = toml::from_str(text).map_err(|error| {
        let hint = missing(error.message());
        let problem = toml_problem(name, text, &error);
        match hint {
            Some(hint) => problem.or_hint(hint),
            None => problem,
        }
    })?;
    let at =
        |table: &str, message: String| Problem::new(place_of_table(name, text, table), message);
    if let Some(service) = settings.unheard() {
        return Err(at(service, format!("[{service}] listens nowhere"))
            .hint("listen = { socket = \"PATH\" } or listen = { address = \"ADDRESS:PORT\" }"));
    }
    if let Some(dnsbl) = &settings.dnsbl
        && dnsbl.zone == dnsbl.information_zone
    {
        return Err(match &dnsbl.zone {
            None => at("dnsbl", "[dnsbl] has no zone".to_owned())
                .hint("zone = \"bl.example.org\", or information-zone = \"os.example.org\""),
            Some(_) => at(
                "dnsbl",
                "zone and information-zone of [dnsbl] are one name: every host that was seen would be \
                 listed"
                    .to_owned(),
            )
            .hint("information-zone = \"os.example.org\", another name than that of zone"),
        });
    }
    match settings.http.as_ref().and_then(HttpSettings::exposed) {
        None => Ok(settings),
        Some(address) => Err(at(
            "http",
            format!("[http] would listen at {address}, where other machines can ask"),
        )
        .hint("listen at 127.0.0.1 or in a socket, or say public = true: nobody needs a password")),
    }
}

/// What to write where serde says that a key is missing.
fn missing(message: &str) -> Option<&'static str> {
    let rest = message.strip_prefix("missing field `")?;
    Some(match rest.split('`').next()? {
        "listen" => {
            "listen = { socket = \"/run/weighbridge/NAME.sock\", group = \"GROUP\" }, or \
                     listen = { address = \"127.0.0.1:PORT\" }"
        }
        "address" => "address = \"127.0.0.1:2345\"",
        "table" => "table = \"spammers\", the table of pf.conf and of [tables] in weighbridge.toml",
        "name-server" => "name-server = \"ns.example.org\", the name in SOA and NS records",
        "connection" => "connection = \"host=/run/postgresql dbname=mail user=weighbridge\"",
        _ => return None,
    })
}

/// Where `[table]` stands; the file alone where it is written in another way.
fn place_of_table(name: &str, text: &str, table: &str) -> String {
    let header = format!("[{table}]");
    let mut lines = text.lines().zip(1..);
    let place = lines.find_map(|(line, number): (&str, usize)| {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        bare.starts_with(&header)
            .then(|| format!("{name}:{number}:{}", indent + 1))
    });
    place.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_place_and_options() {
        let text = r#"
            [p0f]
            listen = { socket = "/run/p0f.sock", group = "mail", mode = "0666", clients = 9 }
            [text]
            listen = { address = "127.0.0.1:2525" }
            [policy]
            listen = { socket = "/run/policy.sock" }
            [milter]
            listen = { socket = "/run/milter.sock" }
            outcomes = false
            [amavis]
            address = "127.0.0.1:2345"
            style = "p0f2"
            [http]
            listen = { address = "[::1]:8025" }
            hosts = ["mail.example.org"]
            [shared-memory]
            group = "mail"
            entries = 1000
            [reputation]
            half-life = "2d"
            never = ["192.0.2.0/24"]
            [throttle]
            table = "spammers"
            [dnsbl]
            zone = "bl.example.org"
            name-server = "ns.example.org"
            [postgres]
            connection = "host=/run/postgresql dbname=mail"
        "#;
        let settings = parse("mail.toml", text).expect("it reads");
        assert_eq!(settings.reputation.half_life.as_secs(), 2 * 86_400);
        assert!(!settings.throttle.expect("throttle").dry_run);
        assert!(settings.dnsbl.expect("dnsbl").address.ip().is_loopback());
        let p0f = settings.p0f.expect("p0f").listen;
        assert_eq!((p0f.mode, p0f.clients), (Some(0o666), Some(9)));
        assert!(!settings.milter.expect("milter").outcomes);
        assert_eq!(settings.amavis.expect("amavis").style, AmavisStyle::P0f2);
        assert_eq!(settings.http.expect("http").hosts, ["mail.example.org"]);
        let memory = settings.shared_memory.expect("shared-memory");
        assert_eq!(memory.file, Path::new("/run/weighbridge/os.shm"));
        assert_eq!((memory.mode, memory.entries), (0o640, 1000));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, message) in [
            ("[p0f]", "missing field `listen`"),
            ("[p0f]\nlisten = {}", "mail.toml:1:1: [p0f] listens nowhere"),
            ("[p0f]", "hint: listen = { socket = "),
            ("\n [amavis]", "mail.toml:2:2: missing field `address`"),
            (
                "[amavis]\nstyle = \"p0f2\"",
                "hint: address = \"127.0.0.1:2345\"",
            ),
            ("[throttle]", "hint: table = \"spammers\""),
            ("[dnsbl]", "hint: name-server = "),
            ("[postgres]", "hint: connection = "),
            (
                "p0f = 3",
                "mail.toml:1:7: invalid type: integer `3`, expected a table",
            ),
            (
                "[text]\nlisten = { address = \"localhost:99\" }",
                "mail.toml:2:22: \"localhost:99\" is no address with a port, as \"127.0.0.1:9999\"",
            ),
            (
                "[p0f]\nlisten = { socket = \"/run/x\" }\n[http]\nlisten = { address = \"[::]:8025\" }",
                "mail.toml:3:1: [http] would listen at [::]:8025",
            ),
            ("[p0f]\nlisten = { mode = \"999\" }", "\"999\" is no mode"),
            ("[p9f]", "unknown key `p9f`"),
            ("[p9f]", "did you mean 'p0f'? known here: p0f, "),
            ("[shared-memory]\nmode = \"0660\"", "lets others write"),
            (
                "[shared-memory]\nentries = 0",
                "0 is not between 1 and 2000000",
            ),
            ("[reputation]\nhalf-life = \"6\"", "\"6\" is no time"),
            ("[reputation]\nnever = [\"x\"]", "\"x\" is no address"),
            (
                "[throttle]\ntable = \"t\"\nratio = 0.1",
                "0.1 is not between 0.5 and 1",
            ),
            (
                "[dnsbl]\nname-server = \"ns.example\"",
                "[dnsbl] has no zone",
            ),
            ("[dnsbl]\nzone = \"a b\"", "\"a b\" is no name"),
            (
                "[dnsbl]\nname-server = \"ns.example\"\nzone = \"bl.example\"\n\
                 information-zone = \"BL.example.\"",
                "mail.toml:1:1: zone and information-zone of [dnsbl] are one name",
            ),
            (
                "[postgres]\nconnection = \"host=/run sslmode=require\"",
                "no TLS",
            ),
        ] {
            let problem = parse("mail.toml", text).expect_err(text).to_string();
            assert!(problem.contains(message), "{problem}");
            assert!(problem.starts_with("mail.toml"), "{problem}");
        }
    }
}
