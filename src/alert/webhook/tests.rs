use std::time::SystemTime;

use buoy_vrrp::{Cause, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::alert::event::News;
use crate::alert::fixture::{instance, server_change, transition};

const QUICK: Retry = Retry { tries: 3, first: Duration::from_millis(5), longest: Duration::from_millis(5) };

/// An HTTP server on loopback. Answers with the statuses it is given, one after the other, then with 204.
struct Server {
    url: Arc<str>,
    requests: mpsc::UnboundedReceiver<(String, serde_json::Value)>,
}

impl Server {
    async fn answering(statuses: &'static [&'static str]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("binds"), statuses)
    }

    fn on(listener: TcpListener, statuses: &'static [&'static str]) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().expect("bound")).into();
        let (sender, requests) = mpsc::unbounded_channel();
        let mut statuses = statuses.iter().copied();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let status = statuses.next().unwrap_or("204 No Content");
                let Some(request) = answer(stream, status).await else { continue };
                if sender.send(request).is_err() {
                    break;
                }
            }
        });
        Self { url, requests }
    }

    async fn next(&mut self) -> (String, serde_json::Value) {
        let next = timeout(Duration::from_secs(20), self.requests.recv());
        next.await.expect("somebody posts").expect("the server runs")
    }
}

/// Reads one request, answers it and closes.
async fn answer(mut stream: TcpStream, status: &str) -> Option<(String, serde_json::Value)> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let response = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(response.as_bytes()).await.ok()?;
    Some((head, serde_json::from_str(&body).ok()?))
}

fn hook(url: &Arc<str>) -> plan::Webhook {
    plan::Webhook { url: Arc::clone(url), timeout: Duration::from_secs(10) }
}

fn record(seq: u64) -> Record {
    let transition = transition(instance("VI_1"), State::Backup, State::Master, Cause::Owner);
    Record { seq, at: SystemTime::now(), news: News::Transition(transition) }
}

struct Bench {
    webhooks: Arc<Webhooks>,
    phase: watch::Sender<Phase>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new(urls: &[&Arc<str>]) -> Self {
        let webhooks = Arc::new(Webhooks::with_retry(QUICK));
        webhooks.adapt(&urls.iter().map(|url| hook(url)).collect::<Vec<_>>());
        let phase = watch::Sender::new(Phase::Open);
        let (working, watching) = (Arc::clone(&webhooks), phase.subscribe());
        let task = tokio::spawn(async move { working.run(watching).await });
        Self { webhooks, phase, task }
    }

    async fn finish(self) {
        self.phase.send_replace(Phase::Flushing);
        timeout(Duration::from_secs(20), self.task).await.expect("ends").expect("without panic");
    }
}

#[tokio::test]
async fn a_transition_is_posted_as_one_json_document() {
    let mut server = Server::answering(&[]).await;
    let bench = Bench::new(&[&server.url]);
    bench.webhooks.announce(&record(7), "director-a");
    let (head, document) = server.next().await;
    assert!(head.starts_with("POST /hook HTTP/1.1"));
    assert!(head.to_lowercase().contains("content-type: application/json"));
    assert_eq!(document["router_id"], "director-a");
    assert_eq!(document["instance"], "VI_1");
    assert_eq!((&document["from"], &document["to"]), (&"BACKUP".into(), &"MASTER".into()));
    assert_eq!(document["cause"]["kind"], "owner");
    assert_eq!(document["cause"]["text"], "address owner (priority 255)");
    assert_eq!((&document["seq"], &document["lasted_ms"]), (&7.into(), &12300.into()));
    bench.finish().await;
}

#[tokio::test]
async fn a_change_of_a_server_is_posted_in_the_same_way() {
    let mut server = Server::answering(&[]).await;
    let bench = Bench::new(&[&server.url]);
    let news = News::Service(server_change("10.1.0.1:80", false, "connection refused"));
    bench.webhooks.announce(&Record { seq: 8, at: SystemTime::now(), news }, "director-a");
    let document = server.next().await.1;
    assert_eq!(document["router_id"], "director-a");
    assert_eq!(
        (&document["service"], &document["server"]),
        (&"TCP 10.0.0.1:80".into(), &"10.1.0.1:80".into())
    );
    assert_eq!((&document["from"], &document["to"]), (&"UP".into(), &"DOWN".into()));
    assert_eq!(document["cause"], serde_json::json!({"text": "connection refused"}));
    bench.finish().await;
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let mut server = Server::answering(&["503 Service Unavailable", "429 Too Many Requests"]).await;
    let bench = Bench::new(&[&server.url]);
    bench.webhooks.announce(&record(1), "director-a");
    for _ in 0..3 {
        assert_eq!(server.next().await.1["seq"], 1);
    }
    bench.webhooks.announce(&record(2), "director-a");
    assert_eq!(server.next().await.1["seq"], 2);
    bench.finish().await;
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_until_the_server_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let url: Arc<str> = format!("http://{address}/hook").into();
    let webhooks = Arc::new(Webhooks::with_retry(Retry { tries: 1000, ..QUICK }));
    webhooks.adapt(&[hook(&url)]);
    webhooks.announce(&record(1), "director-a");
    let phase = watch::Sender::new(Phase::Open);
    let (working, watching) = (Arc::clone(&webhooks), phase.subscribe());
    let task = tokio::spawn(async move { working.run(watching).await });
    // The first try has been refused once the document is no longer in the queue and is not delivered.
    while webhooks.len() > 0 {
        tokio::task::yield_now().await;
    }
    let mut server = Server::on(TcpListener::bind(address).await.expect("binds again"), &[]);
    assert_eq!(server.next().await.1["seq"], 1);
    phase.send_replace(Phase::Flushing);
    timeout(Duration::from_secs(20), task).await.expect("ends").expect("without panic");
}

#[tokio::test]
async fn a_refusal_for_good_is_not_repeated() {
    let mut server = Server::answering(&["404 Not Found"]).await;
    let bench = Bench::new(&[&server.url]);
    bench.webhooks.announce(&record(1), "director-a");
    bench.webhooks.announce(&record(2), "director-a");
    assert_eq!(server.next().await.1["seq"], 1);
    assert_eq!(server.next().await.1["seq"], 2);
    bench.finish().await;
}

#[tokio::test]
async fn after_the_last_try_the_next_document_gets_its_turn() {
    let mut server = Server::answering(&["500 No"; 3]).await;
    let bench = Bench::new(&[&server.url]);
    bench.webhooks.announce(&record(1), "director-a");
    bench.webhooks.announce(&record(2), "director-a");
    let mut seqs = Vec::new();
    for _ in 0..4 {
        seqs.push(server.next().await.1["seq"].as_u64());
    }
    assert_eq!(seqs, [Some(1), Some(1), Some(1), Some(2)]);
    bench.finish().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_up_no_other() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let silent_url: Arc<str> = format!("http://{}/", silent.local_addr().expect("bound")).into();
    let mut server = Server::answering(&[]).await;
    let bench = Bench::new(&[&silent_url, &server.url]);
    bench.webhooks.announce(&record(1), "director-a");
    assert_eq!(server.next().await.1["seq"], 1);
    bench.webhooks.adapt(&[hook(&server.url)]);
    bench.webhooks.announce(&record(2), "director-a");
    assert_eq!(server.next().await.1["seq"], 2);
    bench.finish().await;
}

#[tokio::test]
async fn a_request_is_given_up_after_its_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url: Arc<str> = format!("http://{}/", silent.local_addr().expect("bound")).into();
    let webhooks = Webhooks::new();
    let settings = plan::Webhook { url, timeout: Duration::from_millis(50) };
    let failure = webhooks.post(&settings, b"{}").await.expect_err("no answer");
    assert!(!failure.permanent);
}

#[tokio::test]
async fn https_is_spoken_and_a_server_that_speaks_plainly_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("https://{}/", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody connects");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("written");
        let mut first = [0];
        stream.read_exact(&mut first).await.expect("something is sent");
        first
    });
    let webhooks = Webhooks::new();
    let failure = webhooks.post(&hook(&url.into()), b"{}").await.expect_err("no TLS there");
    assert!(webhooks.clients.secure.get().is_some(), "{:#}", failure.error);
    // RFC 8446 §5.1: a record of the handshake.
    assert_eq!(server.await.expect("without panic"), [22]);
}

#[tokio::test]
async fn a_url_of_another_kind_is_an_error_for_good() {
    let webhooks = Webhooks::new();
    for url in ["ftp://example.org/", "nonsense", "http://"] {
        let settings = hook(&url.into());
        assert!(webhooks.post(&settings, b"{}").await.expect_err("fails").permanent, "{url}");
    }
}

#[test]
fn documents_beyond_the_queue_push_the_oldest_out() {
    let webhooks = Webhooks::new();
    webhooks.adapt(&[hook(&"http://127.0.0.1:9/".into())]);
    for seq in 0..300 {
        webhooks.announce(&record(seq), "director-a");
    }
    assert_eq!(webhooks.len(), CAPACITY);
    assert_eq!(webhooks.endpoints()[0].outbox.dropped(), 300 - 256);
}
