//! The counts of several mail servers in one PostgreSQL database.
//!
//! Each server goes on counting in its own SQLite database and sends the absolute counts of hours
//! that have changed; a row is of one server, and a count there never gets smaller. So whatever is
//! sent twice counts once. While the common database is away nothing is lost and nothing grows but
//! the list of hours that are to be sent.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mail::outcome::Verdict;
use mail::statistics::{System, Tally};
use mail::time::Timestamp;
use postgres::{Client, NoTls, Transaction};
use tracing::{info, warn};

use super::clock;
use super::outcomes::{DATABASE, StartError};
use super::settings::FleetSettings;
use super::storage::unsent::{Bucket, DAY, HOUR};
use super::storage::{FORGOTTEN, Storage, StorageError, int, many};

/// Steps from one form of the database to the next.
const MIGRATIONS: [&str; 1] = [include_str!("storage/postgres.sql")];
/// How often what has changed is sent.
const EVERY: Duration = Duration::from_secs(10);
/// Hours that are sent in one transaction.
const BATCH: usize = 100;
/// How long to wait for a connection; and for each statement, in the server's own words.
const CONNECT: Duration = Duration::from_secs(5);
const STATEMENT: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'";
/// Key of the lock that one server holds while it makes or changes the tables.
const MIGRATION_LOCK: i64 = 0x7765_6967_6862_7267;
/// Bytes of a node's name.
const NODE_MAX: usize = 255;

/// Why the common database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// What `PostgreSQL` or its client said.
    #[error("PostgreSQL: {}", whole(.0))]
    Postgres(#[from] postgres::Error),
    /// A newer program has written it.
    #[error(
        "PostgreSQL: was written by a newer weighbridge (form {found}, this one knows {}): update it",
        MIGRATIONS.len()
    )]
    TooNew {
        /// Its form.
        found: i32,
    },
    /// The server's own database cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The client tells its causes apart from itself.
fn whole(error: &postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The thread that sends.
#[derive(Debug)]
pub struct Sender {
    end: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Sender {
    /// Starts it; it sends what the database in `directory` counts.
    ///
    /// # Errors
    /// Why nothing could ever be sent. A common database that is away is no such reason.
    pub fn start(settings: &FleetSettings, directory: &Path) -> Result<Self, StartError> {
        let mut publisher = Publisher {
            settings: settings.clone(),
            node: node(settings)?,
            storage: Storage::open(&directory.join(DATABASE))?,
            client: None,
            complained: false,
        };
        let (end, ends) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || publisher.run(&ends))?;
        Ok(Self { end, thread })
    }

    /// Sends what is left, if that can be done at once.
    pub fn finish(self) {
        if self.end.send(()).is_ok() {
            let _ = self.thread.join();
        }
    }
}

/// The name under which this server counts.
fn node(settings: &FleetSettings) -> io::Result<String> {
    let own = rustix::system::uname();
    let own = own.nodename().to_string_lossy();
    let name = settings.node.as_deref().unwrap_or(&own);
    if name.is_empty() || name.len() > NODE_MAX || name.contains('\0') {
        let message = "[postgres] node is no name for this server";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(name.to_owned())
}

struct Publisher {
    settings: FleetSettings,
    node: String,
    storage: Storage,
    client: Option<Client>,
    complained: bool,
}

impl Publisher {
    fn run(&mut self, ends: &Receiver<()>) {
        loop {
            let ended = ends.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
            match self.publish() {
                Ok(()) if std::mem::take(&mut self.complained) => {
                    info!("PostgreSQL has everything again");
                }
                Ok(()) => {}
                Err(error) => {
                    self.client = None;
                    if !std::mem::replace(&mut self.complained, true) || ended {
                        warn!("counts are kept here until PostgreSQL takes them: {error}");
                    }
                }
            }
            if ended {
                return;
            }
        }
    }

    /// Sends all that has changed.
    fn publish(&mut self) -> Result<(), FleetError> {
        loop {
            let buckets = self.storage.unsent(BATCH)?;
            if buckets.is_empty() {
                return Ok(());
            }
            let client = match &mut self.client {
                Some(client) => client,
                none => none.insert(connect(&self.settings, true)?),
            };
            let mut transaction = client.transaction()?;
            for bucket in &buckets {
                send(&mut transaction, &self.node, bucket)?;
            }
            let oldest = int(clock::now().as_secs().saturating_sub(FORGOTTEN.as_secs()));
            transaction.execute(
                "DELETE FROM weighbridge_bucket WHERE node = $1 AND start < $2",
                &[&self.node, &oldest],
            )?;
            transaction.commit()?;
            self.storage.sent(&buckets)?;
        }
    }
}

/// A day takes the place of its hours.
fn send(
    transaction: &mut Transaction<'_>,
    node: &str,
    bucket: &Bucket,
) -> Result<(), postgres::Error> {
    if bucket.width == int(DAY) {
        let end = bucket.start.saturating_add(bucket.width);
        transaction.execute(
            "DELETE FROM weighbridge_bucket \
             WHERE node = $1 AND width = $2 AND start >= $3 AND start < $4",
            &[&node, &int(HOUR), &bucket.start, &end],
        )?;
    }
    for count in &bucket.counts {
        transaction.execute(
            "INSERT INTO weighbridge_bucket VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (node, start, width, name, flavor, verdict) \
             DO UPDATE SET n = GREATEST(weighbridge_bucket.n, excluded.n)",
            &[
                &node,
                &bucket.start,
                &bucket.width,
                &count.name,
                &count.flavor,
                &count.verdict,
                &count.count,
            ],
        )?;
    }
    Ok(())
}

fn connect(settings: &FleetSettings, for_writing: bool) -> Result<Client, FleetError> {
    let mut config = settings.config()?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    config.application_name("weighbridge");
    let mut client = config.connect(NoTls)?;
    client.batch_execute(STATEMENT)?;
    if for_writing {
        migrate(&mut client)?;
    }
    Ok(client)
}

/// Several servers may come at the same time: one does it, the others wait.
fn migrate(client: &mut Client) -> Result<(), FleetError> {
    let mut transaction = client.transaction()?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS weighbridge_form (version integer NOT NULL)")?;
    let row = transaction.query_opt("SELECT version FROM weighbridge_form", &[])?;
    let version: i32 = row.as_ref().map_or(0, |row| row.get(0));
    let form = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version > form {
        return Err(FleetError::TooNew { found: version });
    }
    let done = usize::try_from(version).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done) {
        transaction.batch_execute(step)?;
    }
    let statement = match row {
        Some(_) => "UPDATE weighbridge_form SET version = $1",
        None => "INSERT INTO weighbridge_form VALUES ($1)",
    };
    transaction.execute(statement, &[&form])?;
    transaction.commit()?;
    Ok(())
}

/// The counts of all servers, or of `node`, in buckets that begin at `since` or later.
///
/// # Errors
/// Why they cannot be read.
pub fn tally(
    settings: &FleetSettings,
    since: Option<Timestamp>,
    node: Option<&str>,
) -> Result<Tally, FleetError> {
    let mut client = connect(settings, false)?;
    let since = since.map_or(0, |since| int(since.as_secs()));
    let rows = client.query(
        "SELECT name, flavor, verdict, SUM(n)::bigint FROM weighbridge_bucket \
         WHERE start >= $1 AND ($2::text IS NULL OR node = $2) GROUP BY name, flavor, verdict",
        &[&since, &node],
    )?;
    let mut tally = Tally::default();
    for row in rows {
        let (name, flavor): (String, String) = (row.get(0), row.get(1));
        let (verdict, count): (String, i64) = (row.get(2), row.get(3));
        if let Some(verdict) = Verdict::parse(&verdict) {
            let counts = many(verdict, u64::try_from(count).unwrap_or(0));
            tally.add(System { name, flavor }, counts);
        }
    }
    Ok(tally)
}
