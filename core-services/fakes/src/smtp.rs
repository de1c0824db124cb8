//! A mail relay (RFC 5321) without TLS or passwords, which delivers nowhere.
//! Invariant: a mail is recorded when its last line has come; whether the sender is
//! told so depends on the fault.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{Fault, record::Record};

/// Of a line, its end included (RFC 5321 section 4.5.3.1.6).
const LINE_BYTES_MAX: u64 = 1000;
/// Of a mail.
const MAIL_BYTES_MAX: usize = 1024 * 1024;

/// A mail as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Of the envelope.
    pub from: String,
    pub to: Vec<String>,
    /// Header and body.
    pub text: String,
}

impl Mail {
    /// A header field's value, in any case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }
}

/// The relay; it ends when dropped.
pub struct Relay {
    address: SocketAddr,
    record: Arc<Record<Mail>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// # Panics
    /// Without a free port.
    pub async fn start() -> Self {
        let bound = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = bound.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let record = Arc::new(Record::new());
        let task = tokio::spawn(accept(listener, record.clone()));
        Self {
            address,
            record,
            task,
        }
    }

    /// As a setting has it.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn set(&self, fault: Fault) {
        self.record.set_fault(fault);
    }

    /// All mails so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.record.all()
    }

    /// The newest mail to this address that fits, as soon as there is one.
    ///
    /// # Panics
    /// After a minute without one.
    pub async fn mail_to(&self, address: &str, fits: impl Fn(&Mail) -> bool) -> Mail {
        let to = |mail: &Mail| mail.to.iter().any(|to| to == address) && fits(mail);
        self.record.wait("a mail", to).await
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, record: Arc<Record<Mail>>) {
    let mut sessions = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let record = record.clone();
                    sessions.spawn(async move {
                        // A sender that goes away in the middle is the sender's affair.
                        let _ = session(stream, &record).await;
                    });
                }
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn session(stream: TcpStream, record: &Record<Mail>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    if is_over(&mut stream, record).await? {
        return Ok(());
    }
    say(&mut stream, "220 relay.test ESMTP").await?;
    let mut mail = Mail::default();
    while let Some(line) = line(&mut stream).await? {
        // A connection that was kept is no way around a fault.
        if is_over(&mut stream, record).await? {
            return Ok(());
        }
        let verb = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" => say(&mut stream, "250 relay.test").await?,
            "MAIL" => {
                mail = Mail {
                    from: path(&line),
                    ..Mail::default()
                };
                say(&mut stream, "250 sender ok").await?;
            }
            "RCPT" => match record.fault() {
                Fault::Temporary => say(&mut stream, "451 try again later").await?,
                Fault::Permanent => say(&mut stream, "550 no such mailbox").await?,
                _ => {
                    mail.to.push(path(&line));
                    say(&mut stream, "250 recipient ok").await?;
                }
            },
            "DATA" => {
                say(&mut stream, "354 end with a dot").await?;
                mail.text = data(&mut stream).await?;
                record.add(std::mem::take(&mut mail));
                if record.fault() == Fault::Cut {
                    return Ok(());
                }
                say(&mut stream, "250 queued").await?;
            }
            "RSET" | "NOOP" => say(&mut stream, "250 ok").await?,
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "502 not implemented").await?,
        }
    }
    Ok(())
}

/// True where the fault ends the conversation here.
async fn is_over(stream: &mut BufReader<TcpStream>, record: &Record<Mail>) -> io::Result<bool> {
    match record.fault() {
        Fault::Refuse => Ok(true),
        Fault::Stall => {
            // Until the sender gives up.
            stream.read_to_end(&mut Vec::new()).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

async fn data(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    while let Some(line) = line(stream).await? {
        if line == "." {
            return Ok(text);
        }
        if text.len() + line.len() > MAIL_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // RFC 5321 section 4.5.2: a dot in front was put there by the sender.
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// `None` at the end of the connection.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    stream
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut bytes)
        .await?;
    if !bytes.ends_with(b"\n") {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn say(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await
}

/// The address in `MAIL FROM:<…>` or `RCPT TO:<…>`.
fn path(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}
