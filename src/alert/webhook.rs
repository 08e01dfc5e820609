//! `alert_webhook URL`: a JSON document by HTTP POST for every change of state.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::{Client, StatusCode, redirect};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::event::Record;
use super::queue::Queue;
use super::retry::Retry;
use super::shutdown::{Phase, flushing};
use super::subject::{PerTopic, Subject};
use crate::config::plan;

/// Documents of each topic that wait for one server; 256 are about 100 kB.
const CAPACITY: usize = 256;
const RETRY: Retry = Retry { tries: 5, first: Duration::from_secs(1), longest: Duration::from_secs(16) };
/// No try begins later than this after the first.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The configured servers, each with a queue of its own.
#[derive(Debug)]
pub(super) struct Webhooks {
    endpoints: Mutex<Vec<Arc<Endpoint>>>,
    changed: Notify,
    clients: Clients,
    retry: Retry,
}

#[derive(Debug)]
struct Endpoint {
    settings: plan::Webhook,
    outbox: Queue<Subject, Arc<[u8]>>,
    /// Ends its delivery when a reload has removed it.
    retired: watch::Sender<bool>,
}

#[derive(Serialize)]
struct Document<'a> {
    router_id: &'a str,
    #[serde(flatten)]
    record: &'a Record,
}

impl Webhooks {
    pub(super) fn new() -> Self {
        Self::with_retry(RETRY)
    }

    fn with_retry(retry: Retry) -> Self {
        Self { endpoints: Mutex::default(), changed: Notify::new(), clients: Clients::default(), retry }
    }

    /// Takes up and gives up what differs. What waited for a server that was given up is dropped.
    pub(super) fn adapt(&self, wanted: &[plan::Webhook]) {
        let mut endpoints = self.endpoints();
        endpoints.retain(|endpoint| {
            let kept = wanted.contains(&endpoint.settings);
            if !kept {
                endpoint.retired.send_replace(true);
            }
            kept
        });
        for settings in wanted {
            if !endpoints.iter().any(|endpoint| endpoint.settings == *settings) {
                endpoints.push(Arc::new(Endpoint::new(settings.clone())));
            }
        }
        drop(endpoints);
        self.changed.notify_one();
    }

    pub(super) fn announce(&self, record: &Record, router_id: &str) {
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return;
        }
        let body: Arc<[u8]> = match serde_json::to_vec(&Document { router_id, record }) {
            Ok(body) => body.into(),
            Err(error) => return tracing::error!(%error, "cannot write an event as JSON"),
        };
        let subject = record.subject();
        for endpoint in endpoints.iter() {
            endpoint.push(subject.clone(), Arc::clone(&body));
        }
    }

    /// Delivers until the phase says that no more come and all is delivered or given up.
    pub(super) async fn run(&self, phase: watch::Receiver<Phase>) {
        let mut served: Vec<Arc<Endpoint>> = Vec::new();
        let mut deliveries = FuturesUnordered::new();
        loop {
            for endpoint in self.endpoints().iter() {
                if !served.iter().any(|known| Arc::ptr_eq(known, endpoint)) {
                    served.push(Arc::clone(endpoint));
                    deliveries.push(self.serve(Arc::clone(endpoint), phase.clone()));
                }
            }
            let may_end = deliveries.is_empty();
            tokio::select! {
                Some(ended) = deliveries.next() => served.retain(|known| !Arc::ptr_eq(known, &ended)),
                () = self.changed.notified() => {}
                () = flushing(phase.clone()), if may_end => return,
            }
            if deliveries.is_empty() && *phase.borrow() >= Phase::Flushing {
                return;
            }
        }
    }

    /// How many documents wait.
    pub(super) fn len(&self) -> usize {
        self.endpoints().iter().map(|endpoint| endpoint.outbox.len()).sum()
    }

    async fn serve(&self, endpoint: Arc<Endpoint>, phase: watch::Receiver<Phase>) -> Arc<Endpoint> {
        let mut retired = endpoint.retired.subscribe();
        let delivering = async {
            loop {
                let body = tokio::select! {
                    biased;
                    body = endpoint.outbox.next() => body,
                    () = flushing(phase.clone()) => return,
                };
                self.deliver(&endpoint, body, phase.clone()).await;
            }
        };
        tokio::select! {
            () = delivering => {}
            _ = retired.wait_for(|retired| *retired) => {}
        }
        endpoint
    }

    async fn deliver(&self, endpoint: &Endpoint, body: Arc<[u8]>, phase: watch::Receiver<Phase>) {
        let url = &endpoint.settings.url;
        let give_up = Instant::now() + GIVE_UP;
        let mut failures = 0;
        loop {
            let failure = match self.post(&endpoint.settings, &body).await {
                Ok(()) => return,
                Err(failure) => failure,
            };
            failures += 1;
            let wait = self.retry.wait(failures).filter(|wait| {
                !failure.permanent && Instant::now().checked_add(*wait).is_some_and(|at| at < give_up)
            });
            let error = format!("{:#}", failure.error);
            let Some(wait) = wait else {
                tracing::warn!(%url, error, tries = failures, "webhook is not delivered");
                return;
            };
            tracing::info!(%url, error, "webhook is not delivered yet");
            tokio::select! {
                () = sleep(wait) => {}
                () = flushing(phase.clone()) => {
                    tracing::warn!(%url, "webhook is not delivered, because the daemon stops");
                    return;
                }
            }
        }
    }

    async fn post(&self, settings: &plan::Webhook, body: &[u8]) -> Result<(), Failure> {
        let client = self.clients.for_url(&settings.url).map_err(Failure::permanent)?;
        let request = client
            .post(&*settings.url)
            .timeout(settings.timeout)
            .header("content-type", "application/json")
            .body(body.to_vec());
        let response = request.send().await.map_err(|error| Failure {
            permanent: error.is_builder(),
            // The URL is told beside it.
            error: anyhow::Error::new(error.without_url()),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let passing = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        Err(Failure { permanent: !passing, error: anyhow::anyhow!("answer {status}") })
    }

    fn endpoints(&self) -> MutexGuard<'_, Vec<Arc<Endpoint>>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    fn new(settings: plan::Webhook) -> Self {
        let room = PerTopic { election: CAPACITY, services: CAPACITY };
        Self { settings, outbox: Queue::new(room), retired: watch::Sender::new(false) }
    }

    fn push(&self, subject: Subject, body: Arc<[u8]>) {
        if self.outbox.push(subject.topic(), subject, body).is_some() && self.outbox.dropped() == 1 {
            let url = &self.settings.url;
            tracing::warn!(%url, "more than {CAPACITY} webhook documents wait: the oldest are dropped");
        }
    }
}

#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    /// Trying again is of no use.
    permanent: bool,
}

impl Failure {
    fn permanent(error: anyhow::Error) -> Self {
        Self { error, permanent: true }
    }
}

/// HTTP clients, made when first needed: the certificates of the system are some hundred kilobytes that a
/// daemon without HTTPS webhooks shall not hold.
#[derive(Debug, Default)]
struct Clients {
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
}

impl Clients {
    fn for_url(&self, url: &str) -> anyhow::Result<&Client> {
        let secure = match url.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => true,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => false,
            _ => bail!("neither http:// nor https://"),
        };
        let cell = if secure { &self.secure } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        // Fails when another part has installed a provider, which then serves as well.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a cryptography provider is installed already");
        }
        let mut builder = Client::builder()
            .user_agent(concat!("buoy/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1);
        if !secure {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().context("cannot make an HTTP client")?;
        Ok(cell.get_or_init(|| client))
    }
}

#[cfg(test)]
mod tests;
