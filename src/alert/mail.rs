//! `smtp_alert`: mail for changes of state, by plain SMTP to the configured relay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use buoy_vrrp::{State, Transition};
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::watch;
use tokio::time::sleep;

use super::change::ServiceChange;
use super::queue::Queue;
use super::retry::Retry;
use super::settings::{Label, Settings};
use super::shutdown::{Phase, flushing};
use super::subject::{PerTopic, Subject};
use crate::config::plan::Mail;

/// RFC 2045 §6.7 wants no longer ones.
const LINE_LEN: usize = 76;
/// Letters of each topic that wait for a relay which does not answer. More than that nobody would read.
const CAPACITY: usize = 256;
const RETRY: Retry = Retry { tries: 4, first: Duration::from_secs(2), longest: Duration::from_secs(30) };

#[derive(Debug)]
pub(super) struct Mailer {
    outbox: Queue<Subject, Letter>,
    /// The name of the state each subject was last mailed in: it is not mailed twice in a row.
    mailed: Mutex<BTreeMap<Subject, &'static str>>,
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
        let room = PerTopic { election: CAPACITY, services: CAPACITY };
        Self { outbox: Queue::new(room), mailed: Mutex::default(), retry }
    }

    /// Forgets what was mailed of subjects that are gone for good.
    pub(super) fn adapt(&self, settings: &Settings) {
        self.mailed().retain(|subject, _| settings.knows(subject));
    }

    /// Queues a letter about `transition`, announced as `state`, if one is wanted.
    pub(super) fn announce(&self, transition: &Transition, state: State, settings: &Settings) {
        let wanted = settings.subjects.get(&transition.subject).is_some_and(|subject| subject.smtp_alert);
        let unwanted = !is_possible(&settings.mail) || (settings.mail.no_faults && state == State::Fault);
        if wanted && !unwanted {
            let letter = || Letter::about(transition, state, &settings.router_id);
            self.post(transition.subject.clone().into(), state.name(), letter);
        }
    }

    /// Queues a letter about a server or a quorum. Whether one is wanted is the caller's to know.
    pub(super) fn announce_change(&self, change: &ServiceChange, service: &Label, settings: &Settings) {
        if is_possible(&settings.mail) {
            let letter = || Letter::about_change(change, service, &settings.router_id);
            self.post(change.subject(), change.to(), letter);
        }
    }

    fn post(&self, subject: Subject, state: &'static str, letter: impl FnOnce() -> Letter) {
        let before = self.mailed().insert(subject.clone(), state);
        if before == Some(state) {
            return;
        }
        if self.outbox.push(subject.topic(), subject, letter()).is_some() && self.outbox.dropped() == 1 {
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

    fn mailed(&self) -> MutexGuard<'_, BTreeMap<Subject, &'static str>> {
        self.mailed.lock().unwrap_or_else(PoisonError::into_inner)
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
            buoy_vrrp::Subject::Instance(name) => ("Instance", name),
            buoy_vrrp::Subject::Group(name) => ("Group", name),
        };
        let news = match state {
            State::Stop => "Stopping".to_owned(),
            State::Deleted => "Deleted".to_owned(),
            state => format!("Entering {state} state"),
        };
        let headline = match (&transition.subject, state) {
            (buoy_vrrp::Subject::Instance(_), State::Master) => "The instance owns the virtual addresses now",
            (buoy_vrrp::Subject::Instance(_), _) => {
                "The instance does not own the virtual addresses any more"
            }
            (buoy_vrrp::Subject::Group(_), State::Master) => "All members of the group are master now",
            (buoy_vrrp::Subject::Group(_), _) => "The members of the group are not master any more",
        };
        let body = body(headline, &crate::log::Sentence(transition).to_string());
        Self { subject: format!("[{router_id}] VRRP {kind} {name} - {news}"), body }
    }

    fn about_change(change: &ServiceChange, service: &Label, router_id: &str) -> Self {
        let news = change.to();
        let subject = match change.server {
            Some(server) => {
                let server = service.server(server);
                format!("[{router_id}] Realserver {server} of virtual server {service} - {news}")
            }
            None => format!("[{router_id}] Virtualserver {service} - {news}"),
        };
        Self { subject, body: body(&change.reason, &change.to_string()) }
    }
}

fn body(headline: &str, sentence: &str) -> String {
    format!("{}\r\n\r\n{}\r\n", wrapped(&format!("=> {headline} <=")), wrapped(sentence))
}

fn is_possible(mail: &Mail) -> bool {
    mail.server.is_some() && !mail.to.is_empty()
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
