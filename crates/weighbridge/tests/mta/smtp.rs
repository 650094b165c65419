//! Mail that hosts send.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lab::namespace::Namespace;

use crate::site::SERVER;

pub(crate) const SMTP: u16 = 25;
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A message.
pub(crate) struct Mail<'m> {
    pub(crate) to: &'m str,
    pub(crate) subject: &'m str,
    /// Header lines and text, beside the subject.
    pub(crate) head: &'m str,
    pub(crate) text: &'m str,
}

/// What the server answers to the message, or to the first command that it refuses.
pub(crate) fn send(host: &Namespace, mail: &Mail<'_>) -> String {
    let to: SocketAddr = format!("{SERVER}:{SMTP}").parse().expect("an address");
    let stream = host.run(|| TcpStream::connect_timeout(&to, PATIENCE));
    let mut talk = Talk(BufReader::new(stream.expect("connected")));
    talk.0
        .get_ref()
        .set_read_timeout(Some(PATIENCE))
        .expect("set");
    let answer = talk.send(mail).unwrap_or_else(|refusal| refusal);
    let _ = talk.say("QUIT");
    answer
}

struct Talk(BufReader<TcpStream>);

impl Talk {
    fn send(&mut self, mail: &Mail<'_>) -> Result<String, String> {
        self.hear()?;
        self.say("EHLO host.example")?;
        self.say("MAIL FROM:<alice@mx.example>")?;
        self.say(&format!("RCPT TO:<{}>", mail.to))?;
        self.say("DATA")?;
        let Mail {
            to,
            subject,
            head,
            text,
        } = mail;
        self.say(&format!(
            "From: alice@mx.example\r\nTo: {to}\r\n{head}Subject: {subject}\r\n\r\n{text}\r\n."
        ))
    }

    fn say(&mut self, line: &str) -> Result<String, String> {
        let sent = self.0.get_mut().write_all(format!("{line}\r\n").as_bytes());
        sent.map_err(|error| error.to_string())?;
        self.hear()
    }

    /// The last line of an answer; an error when it is a refusal.
    fn hear(&mut self) -> Result<String, String> {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line);
            read.map_err(|error| error.to_string())?;
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let line = line.trim_end().to_owned();
            let refused = !line.starts_with(['2', '3']);
            return if refused { Err(line) } else { Ok(line) };
        }
    }
}
