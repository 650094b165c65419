//! `[postgres]` of mail.toml: where the counts of several mail servers come together.

use postgres::config::SslMode;
use serde::{Deserialize, Deserializer};

/// `[postgres]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct FleetSettings {
    /// How to connect, in libpq's words.
    #[serde(deserialize_with = "connection")]
    pub connection: String,
    /// This server's name among the others; without one the machine's.
    pub node: Option<String>,
}

impl FleetSettings {
    /// [`Self::connection`] as the client wants it.
    ///
    /// # Errors
    /// Never, once the settings have been read.
    pub fn config(&self) -> Result<postgres::Config, postgres::Error> {
        self.connection.parse()
    }
}

fn connection<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    let problem = |what: String| serde::de::Error::custom(what);
    let config: postgres::Config = text.parse().map_err(|error: postgres::Error| {
        problem(format!(
            "no connection: {error}; as \"host=/run/postgresql dbname=mail user=weighbridge\""
        ))
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(problem(
            "no TLS is spoken here: use a UNIX socket, or a tunnel, and leave sslmode out"
                .to_owned(),
        ));
    }
    Ok(text)
}
