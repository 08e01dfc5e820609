//! `smtp_alert`: mail for changes of state, by plain SMTP to the configured relay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use buoy_vrrp::{State, Subject, Transition};
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::watch;
use tokio::time::sleep;

use super::queue::Queue;
use super::retry::Retry;
use super::settings::Settings;
use super::shutdown::{Phase, flushing};
use crate::config::plan::Mail;

/// RFC 2045 §6.7 wants no longer ones.
const LINE_LEN: usize = 76;
/// Letters that wait for a relay which does not answer. More than that nobody would read.
const CAPACITY: usize = 256;
const RETRY: Retry = Retry { tries: 4, first: Duration::from_secs(2), longest: Duration::from_secs(30) };

#[derive(Debug)]
pub(super) struct Mailer {
    outbox: Queue<Letter>,
    /// The state each subject was last mailed in: it is not mailed twice in a row.
    mailed: Mutex<BTreeMap<Subject, State>>,
    retry: Retry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Letter {
    subject: String,
    body: String,
}

impl Mailer {
    pub(super) fn new() -> Self {
        Self::with_retry(RETRY)
    }

    fn with_retry(retry: Retry) -> Self {
        Self { outbox: Queue::new(CAPACITY), mailed: Mutex::default(), retry }
    }

    /// Queues a letter about `transition`, announced as `state`, if one is wanted.
    pub(super) fn announce(&self, transition: &Transition, state: State, settings: &Settings) {
        let mail = &settings.mail;
        let wanted = settings.subjects.get(&transition.subject).is_some_and(|subject| subject.smtp_alert);
        let unwanted =
            mail.server.is_none() || mail.to.is_empty() || (mail.no_faults && state == State::Fault);
        if !wanted || unwanted {
            return;
        }
        let mut mailed = self.mailed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mailed.insert(transition.subject.clone(), state);
        drop(mailed);
        if before == Some(state) {
            return;
        }
        let letter = Letter::about(transition, state, &settings.router_id);
        if self.outbox.push(letter, |_, _| false).is_some() && self.outbox.dropped() == 1 {
            tracing::warn!("more than {CAPACITY} mails wait for the relay: the oldest are dropped");
        }
    }

    /// Delivers letter by letter until the phase says that no more come. `settings` gives those of the
    /// moment of delivery.
    pub(super) async fn run(&self, settings: impl Fn() -> Arc<Settings>, phase: watch::Receiver<Phase>) {
        loop {
            let letter = tokio::select! {
                biased;
                letter = self.outbox.next() => letter,
                () = flushing(phase.clone()) => return,
            };
            self.deliver(&letter, &settings, phase.clone()).await;
        }
    }

    /// How many letters wait.
    pub(super) fn len(&self) -> usize {
        self.outbox.len()
    }

    async fn deliver(
        &self,
        letter: &Letter,
        settings: &impl Fn() -> Arc<Settings>,
        phase: watch::Receiver<Phase>,
    ) {
        let mut failures = 0;
        loop {
            let error = match send(letter, &settings().mail).await {
                Ok(()) => return,
                Err(error) => error,
            };
            failures += 1;
            let wait = self.retry.wait(failures).filter(|_| !is_permanent(&error));
            let error = format!("{error:#}");
            let Some(wait) = wait else {
                tracing::warn!(mail = letter.subject, error, tries = failures, "mail is not delivered");
                return;
            };
            tracing::info!(mail = letter.subject, error, "mail is not delivered yet");
            tokio::select! {
                () = sleep(wait) => {}
                () = flushing(phase.clone()) => {
                    tracing::warn!(mail = letter.subject, "mail is not delivered, because the daemon stops");
                    return;
                }
            }
        }
    }
}

impl Letter {
    fn about(transition: &Transition, state: State, router_id: &str) -> Self {
        let (kind, name) = match &transition.subject {
            Subject::Instance(name) => ("Instance", name),
            Subject::Group(name) => ("Group", name),
        };
        let news = match state {
            State::Stop => "Stopping".to_owned(),
            State::Deleted => "Deleted".to_owned(),
            state => format!("Entering {state} state"),
        };
        let headline = match (&transition.subject, state) {
            (Subject::Instance(_), State::Master) => "The instance owns the virtual addresses now",
            (Subject::Instance(_), _) => "The instance does not own the virtual addresses any more",
            (Subject::Group(_), State::Master) => "All members of the group are master now",
            (Subject::Group(_), _) => "The members of the group are not master any more",
        };
        let sentence = wrapped(&crate::log::Sentence(transition).to_string());
        let body = format!("=> {headline} <=\r\n\r\n{sentence}\r\n");
        Self { subject: format!("[{router_id}] VRRP {kind} {name} - {news}"), body }
    }
}

/// Lines short enough to be sent as they are, without an encoding that a person cannot read.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= LINE_LEN => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\r\n")
}

async fn send(letter: &Letter, mail: &Mail) -> anyhow::Result<()> {
    let Some((host, port)) = &mail.server else { bail!("no smtp_server is configured any more") };
    let message = compose(letter, mail)?;
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&**host)
        .port(*port)
        .timeout(Some(mail.connect_timeout));
    if let Some(name) = &mail.helo_name {
        transport = transport.hello_name(ClientId::Domain(name.to_string()));
    }
    transport.build().send(message).await.map(drop).with_context(|| format!("SMTP to {host}:{port}"))
}

fn compose(letter: &Letter, mail: &Mail) -> anyhow::Result<Message> {
    let mut to = Mailboxes::new();
    for address in &mail.to {
        to.push(mailbox(address, mail)?);
    }
    Message::builder()
        .from(mailbox(&mail.from, mail)?)
        .mailbox(lettre::message::header::To::from(to))
        .subject(letter.subject.as_str())
        .header(XMailer)
        .header(ContentType::TEXT_PLAIN)
        .body(letter.body.clone())
        .context("cannot compose a mail")
}

/// `NAME <USER@HOST>`, `USER@HOST`, or a bare user, who is at the host that HELO names.
fn mailbox(address: &str, mail: &Mail) -> anyhow::Result<Mailbox> {
    let whole = match address.contains('@') {
        true => address.to_owned(),
        false => format!("{address}@{}", mail.helo_name.as_deref().unwrap_or("localhost")),
    };
    whole.parse().with_context(|| format!("{address:?} is no mail address"))
}

/// Whether trying again is of no use: an answer of the 500s, or a letter that cannot be written.
fn is_permanent(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<lettre::transport::smtp::Error>() {
        Some(error) => error.is_permanent(),
        None => true,
    }
}

/// `X-Mailer: Buoy`
#[derive(Clone, Copy, Debug)]
struct XMailer;

impl Header for XMailer {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Mailer")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "Buoy".to_owned())
    }
}

#[cfg(test)]
mod tests;
