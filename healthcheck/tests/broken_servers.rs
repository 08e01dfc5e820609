//! Servers that are broken in every way that has been thought of: each attempt ends on time, says why in words that
//! fit, and leaves no descriptor behind.

mod fixture;

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use buoy_healthcheck::checker::agent::AgentCheck;
use buoy_healthcheck::checker::dns::{DnsCheck, Question};
use buoy_healthcheck::checker::http::{HttpCheck, Page, Pages, Pattern, PatternOptions};
use buoy_healthcheck::checker::smtp::{HeloName, SmtpCheck};
use buoy_healthcheck::checker::tcp::TcpCheck;
use buoy_healthcheck::checker::udp::{UdpCheck, WantedReply};
use buoy_healthcheck::{Application, Probe, Target, Trust};
use socket2::{Domain, Socket, Type};
use time::{Duration as Days, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use fixture::*;

type Run = Pin<Box<dyn Future<Output = (String, Duration)> + Send>>;

/// The words that the outcome has to contain, and the attempt.
struct Case {
    name: &'static str,
    words: &'static str,
    run: Run,
}

/// A case against a script that serves each connection.
fn case<F>(
    name: &'static str,
    words: &'static str,
    script: impl Fn(TcpStream) -> F + Send + 'static,
    probe: impl FnOnce(SocketAddr) -> Probe + Send + 'static,
) -> Case
where
    F: Future<Output = ()> + Send + 'static,
{
    let run = Box::pin(async move {
        let server = serve(script).await;
        timed(probe(server.address)).await
    });
    Case { name, words, run }
}

/// An HTTP server that answers with these bytes and closes.
fn says(name: &'static str, words: &'static str, response: impl Into<Vec<u8>> + Send + 'static) -> Case {
    let run = Box::pin(async move {
        let server = answering(response).await;
        timed(Probe::Http(http(server.address))).await
    });
    Case { name, words, run }
}

async fn timed(probe: Probe) -> (String, Duration) {
    let start = Instant::now();
    let outcome = probe.attempt(0).await;
    (outcome.to_string(), start.elapsed())
}

fn plain(address: SocketAddr) -> Probe {
    Probe::Http(http(address))
}

fn with_page(change: impl FnOnce(&mut Page) + Send + 'static) -> impl FnOnce(SocketAddr) -> Probe + Send {
    move |address| {
        let mut page = page(address);
        change(&mut page);
        Probe::Http(HttpCheck { pages: Pages::from(page), ..http(address) })
    }
}

/// Sends `bytes` after the request, then nothing until the client goes.
fn then_silence(bytes: &'static [u8]) -> impl Fn(TcpStream) -> Run2 + Send {
    move |mut stream| {
        Box::pin(async move {
            request(&mut stream).await;
            send(&mut stream, bytes).await;
            wait_for_end(&mut stream).await;
        })
    }
}

type Run2 = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sends `bytes` after the request, then the same piece again and again until the client goes.
fn then_repeats(
    bytes: &'static [u8],
    piece: &'static [u8],
    every: Duration,
) -> impl Fn(TcpStream) -> Run2 + Send {
    move |mut stream| {
        Box::pin(async move {
            request(&mut stream).await;
            send(&mut stream, bytes).await;
            while stream.write_all(piece).await.is_ok() {
                tokio::time::sleep(every).await;
            }
        })
    }
}

/// Sends `bytes` after the request, then resets.
fn then_reset(bytes: &'static [u8]) -> impl Fn(TcpStream) -> Run2 + Send {
    move |mut stream| {
        Box::pin(async move {
            request(&mut stream).await;
            send(&mut stream, bytes).await;
            reset(stream);
        })
    }
}

const DRIP: Duration = Duration::from_millis(100);
const OK_LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello";
const OK_CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn http_cases() -> Vec<Case> {
    let chunked = |chunks: &[u8]| [OK_CHUNKED, chunks].concat();
    vec![
        says("closes without a word", "closed in waiting for the response", ""),
        says("half a status line", "closed in waiting for the response", "HTTP/1.1 2"),
        says("half a head", "closed in waiting for the response", "HTTP/1.1 200 OK\r\nContent-Le"),
        says("not HTTP", "bad HTTP in waiting for the response", "SSH-2.0-OpenSSH_9.2\r\n"),
        says("HTTP/0.9", "bad HTTP in waiting for the response", "<html>hello</html>\r\n"),
        says("short body", "closed in reading the body", OK_LONG),
        says("bad chunk size", "bad HTTP in reading the body", chunked(b"xyz\r\nhello\r\n")),
        says("chunk size overflow", "bad HTTP in reading the body", chunked(b"fffffffffffffffff\r\nx")),
        says("chunk without its end", "bad HTTP in reading the body", chunked(b"5\r\nhelloXX0\r\n\r\n")),
        says("chunks without an end", "closed in reading the body", chunked(b"5\r\nhello\r\n")),
        says("half a chunk", "closed in reading the body", chunked(b"5\r\nhe")),
        says("status 503", "status 503, expected 200-299", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        says(
            "redirect",
            "status 302, expected 200-299",
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        ),
        says("status 999", "status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
        says(
            "two lengths",
            "bad HTTP in waiting",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        ),
        says("negative length", "bad HTTP in waiting", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello"),
        says("header with a control character", "bad HTTP in waiting", "HTTP/1.1 200 OK\r\nA\x01: b\r\n\r\n"),
        says(
            "continue, then all is well",
            "up",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        says("body until the end", "up", "HTTP/1.0 200 OK\r\n\r\nhello"),
        says("no content", "up", "HTTP/1.1 204 No Content\r\n\r\n"),
        case("resets at once", "connection reset", |stream| async { reset(stream) }, plain),
        case("resets after the request", "reset in waiting for the response", then_reset(b""), plain),
        case(
            "resets within the head",
            "reset in waiting for the response",
            then_reset(b"HTTP/1.1 20"),
            plain,
        ),
        case("resets within the body", "reset in reading the body", then_reset(OK_LONG), plain),
        case("silent", "timed out after 2 s in waiting for the response", then_silence(b""), plain),
        case(
            "silent within the head",
            "timed out after 2 s in waiting",
            then_silence(b"HTTP/1.1 200 OK\r\nA: "),
            plain,
        ),
        case(
            "silent within the body",
            "timed out after 2 s in reading the body",
            then_silence(OK_LONG),
            plain,
        ),
        case(
            "silent within a chunk",
            "timed out after 2 s in reading the body",
            then_silence(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"),
            plain,
        ),
        case(
            "head drips",
            "timed out after 2 s in waiting",
            then_repeats(b"HTTP/1.1 200 OK\r\nA: ", b"b", DRIP),
            plain,
        ),
        case(
            "body drips",
            "not done after 4 s, still reading the body",
            then_repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"b", DRIP),
            plain,
        ),
        case(
            "endless head",
            "bad HTTP in waiting",
            then_repeats(b"HTTP/1.1 200 OK\r\n", &[b'x'; 4096], Duration::ZERO),
            plain,
        ),
        case(
            "endless continue",
            "timed out after 2 s in waiting",
            then_repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n", DRIP),
            plain,
        ),
        case(
            "endless body",
            "body is longer than 1000000 bytes",
            then_repeats(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096], Duration::ZERO),
            with_page(|page| page.body_limit = 1_000_000),
        ),
        case(
            "another body",
            "body digest 5d41402abc4b2a76b9719d911017c592 differs",
            says_hello,
            with_page(|page| page.digest = Some("00000000000000000000000000000000".parse().unwrap())),
        ),
        case(
            "body without the pattern",
            "body does not match \"bye\"",
            says_hello,
            with_page(|page| page.pattern = Some(Pattern::new("bye", PatternOptions::default()).unwrap())),
        ),
    ]
}

async fn says_hello(mut stream: TcpStream) {
    request(&mut stream).await;
    send(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
}

fn tcp_cases() -> Vec<Case> {
    let tcp = |address| Probe::Tcp(TcpCheck { target: Target::new(address), deadlines: deadlines() });
    let refused = Box::pin(async move {
        let gone = serve(|_| async {}).await.address;
        // The listener is gone once its task has been dropped.
        while TcpStream::connect(gone).await.is_ok() {
            tokio::task::yield_now().await;
        }
        timed(tcp(gone)).await
    });
    let deaf = Box::pin(async move {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        // A full queue: further SYNs are dropped.
        let queued: Vec<_> = (0..4)
            .map(|_| {
                let client = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
                drop(client.connect(&address));
                client
            })
            .collect();
        let outcome = timed(tcp(address.as_socket().unwrap())).await;
        drop(queued);
        outcome
    });
    vec![
        Case { name: "refuses", words: "connection refused", run: refused },
        Case { name: "drops SYNs", words: "timed out after 2 s in connecting", run: deaf },
    ]
}

/// `tls` with a good certificate for `good.test`, and its page.
fn tls_case<F>(
    name: &'static str,
    words: &'static str,
    protocols: &'static [&'static [u8]],
    compliant: bool,
    script: impl Fn(tokio_rustls::server::TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> Case
where
    F: Future<Output = ()> + Send + 'static,
{
    let run = Box::pin(async move {
        let authority = Authority::new();
        let server = serve_tls(&authority.certificate("good.test", |_| {}), protocols, script).await;
        let offered: &[Application] =
            if protocols.is_empty() { &[] } else { &[Application::Http2, Application::Http11] };
        let mut check = https(server.address, authority.trust(), "good.test", offered);
        let mut page = page(server.address);
        page.tls_compliant = compliant;
        check.pages = Pages::from(page);
        timed(Probe::Http(check)).await
    });
    Case { name, words, run }
}

/// A certificate that `change` has spoilt.
fn certificate_case(
    name: &'static str,
    words: &'static str,
    change: impl FnOnce(&mut rcgen::CertificateParams) + Send + 'static,
) -> Case {
    let run = Box::pin(async move {
        let authority = Authority::new();
        let server = serve_tls(&authority.certificate("good.test", change), &[], hello_over_tls).await;
        timed(Probe::Http(https(server.address, authority.trust(), "good.test", &[]))).await
    });
    Case { name, words, run }
}

async fn hello_over_tls(mut stream: tokio_rustls::server::TlsStream<TcpStream>) {
    request(&mut stream).await;
    send(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    drop(stream.shutdown().await);
}

async fn hello_without_goodbye(mut stream: tokio_rustls::server::TlsStream<TcpStream>) {
    request(&mut stream).await;
    send(&mut stream, b"HTTP/1.1 200 OK\r\n\r\nhello").await;
    let (mut tcp, _no_close_notify) = stream.into_inner();
    drop(tcp.shutdown().await);
}

fn over_tls(address: SocketAddr) -> Probe {
    Probe::Http(https(address, Trust::Anyone, "good.test", &[]))
}

fn tls_cases() -> Vec<Case> {
    let now = OffsetDateTime::now_utc();
    let self_signed_case = Box::pin(async move {
        let server = serve_tls(&self_signed("good.test"), &[], hello_over_tls).await;
        timed(Probe::Http(https(server.address, Authority::new().trust(), "good.test", &[]))).await
    });
    let unverified = Box::pin(async move {
        let server = serve_tls(&self_signed("other.test"), &[], hello_over_tls).await;
        timed(over_tls(server.address)).await
    });
    vec![
        Case { name: "self-signed", words: "not signed by a known authority", run: self_signed_case },
        Case { name: "self-signed, nobody cares", words: "up", run: unverified },
        certificate_case("expired", "certificate has expired", move |params| {
            params.not_before = now - Days::days(30);
            params.not_after = now - Days::days(1);
        }),
        certificate_case("not yet valid", "certificate is not valid yet", move |params| {
            params.not_before = now + Days::days(1);
        }),
        certificate_case("another name", "certificate is not for good.test", |params| {
            params.subject_alt_names =
                rcgen::CertificateParams::new(["other.test".to_owned()]).unwrap().subject_alt_names;
        }),
        case(
            "plain HTTP behind TLS",
            "does not speak TLS",
            |mut stream| async move {
                send(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                wait_for_end(&mut stream).await;
            },
            over_tls,
        ),
        case(
            "closes in the handshake",
            "closed in TLS handshake",
            |mut stream| async move {
                drop(stream.shutdown().await);
                wait_for_end(&mut stream).await;
            },
            over_tls,
        ),
        case(
            "closes within a TLS record",
            "closed in TLS handshake",
            |mut stream| async move {
                send(&mut stream, b"\x16\x03\x03\x00\x7a\x02\x00").await;
                drop(stream.shutdown().await);
                wait_for_end(&mut stream).await;
            },
            over_tls,
        ),
        case(
            "resets in the handshake",
            "connection reset in TLS handshake",
            |mut stream| async move {
                drop(stream.read_u8().await);
                reset(stream);
            },
            over_tls,
        ),
        case(
            "silent in the handshake",
            "timed out after 2 s in TLS handshake",
            |mut stream| async move {
                wait_for_end(&mut stream).await;
            },
            over_tls,
        ),
        case(
            "alert",
            "ended the TLS handshake: HandshakeFailure",
            |mut stream| async move {
                send(&mut stream, b"\x15\x03\x03\x00\x02\x02\x28").await;
                wait_for_end(&mut stream).await;
            },
            over_tls,
        ),
        tls_case(
            "closes after the handshake",
            "closed in waiting for the response",
            &[],
            false,
            |mut stream| async move {
                drop(stream.shutdown().await);
            },
        ),
        tls_case("no goodbye, nobody cares", "up", &[], false, hello_without_goodbye),
        tls_case(
            "no goodbye after a body of known length",
            "without close notification",
            &[],
            true,
            |mut stream| async move {
                request(&mut stream).await;
                send(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
                let (mut tcp, _no_close_notify) = stream.into_inner();
                drop(tcp.shutdown().await);
            },
        ),
        tls_case("no goodbye, tls_compliant", "without close notification", &[], true, hello_without_goodbye),
        tls_case("goodbye, tls_compliant", "up", &[], true, hello_over_tls),
        tls_case(
            "no end, tls_compliant",
            "timed out after 2 s in waiting for the TLS close",
            &[],
            true,
            |mut stream| async move {
                request(&mut stream).await;
                send(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                wait_for_end(&mut stream).await;
            },
        ),
    ]
}

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// An HTTP/2 server that sends its settings and these frames.
fn frames(name: &'static str, words: &'static str, frames: &'static [u8]) -> Case {
    tls_case(name, words, &[b"h2"], false, move |mut stream| async move {
        send(&mut stream, SETTINGS).await;
        http2_request(&mut stream).await;
        send(&mut stream, frames).await;
        wait_for_end(&mut stream).await;
    })
}

/// Reads the preface and frames up to the head of a request.
async fn http2_request(stream: &mut tokio_rustls::server::TlsStream<TcpStream>) {
    const HEADERS: u8 = 1;
    let mut preface = [0; 24];
    let mut head = [0; 9];
    if stream.read_exact(&mut preface).await.is_err() {
        return;
    }
    while stream.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]).try_into().unwrap()];
        if stream.read_exact(&mut payload).await.is_err() || kind == HEADERS {
            return;
        }
    }
}

fn http2_cases() -> Vec<Case> {
    vec![
        // Last stream 0, ENHANCE_YOUR_CALM.
        frames("GOAWAY", "bad HTTP in", b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b"),
        // Stream 1, REFUSED_STREAM.
        frames("RST_STREAM", "bad HTTP in waiting for the response", b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x07"),
        frames("HTTP/1 instead of frames", "bad HTTP in", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        frames("bad header compression", "bad HTTP in", b"\0\0\x02\x01\x05\0\0\0\x01\xff\xff"),
        frames("silent after the settings", "timed out after 2 s in waiting for the response", b""),
        tls_case(
            "closes before the settings",
            "in waiting for the response",
            &[b"h2"],
            false,
            |mut stream| async move {
                drop(stream.shutdown().await);
            },
        ),
        tls_case("HTTP/2 status 500", "status 500", &[b"h2"], false, |stream| serve_http2(stream, 500)),
        tls_case("HTTP/2 in order", "up", &[b"h2"], false, |stream| serve_http2(stream, 200)),
    ]
}

async fn serve_http2(stream: tokio_rustls::server::TlsStream<TcpStream>, status: u16) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let response = http::Response::builder().status(status).body(()).unwrap();
        if let Ok(mut body) = respond.send_response(response, false) {
            drop(body.send_data(bytes::Bytes::from_static(b"hello"), true));
        }
    }
}

fn smtp_cases() -> Vec<Case> {
    let smtp = |address| {
        Probe::Smtp(SmtpCheck {
            target: Target::new(address),
            deadlines: deadlines(),
            helo: HeloName::default(),
        })
    };
    let saying = |bytes: &'static [u8]| {
        move |mut stream: TcpStream| async move {
            send(&mut stream, bytes).await;
            wait_for_end(&mut stream).await;
        }
    };
    vec![
        case(
            "SMTP without service",
            "SMTP reply 554 \"no service\" in waiting for the banner",
            saying(b"554 no service\r\n"),
            smtp,
        ),
        case(
            "not SMTP",
            "not an SMTP reply in waiting for the banner: \"HTTP/1.1 400\"",
            saying(b"HTTP/1.1 400\r\n"),
            smtp,
        ),
        case(
            "SMTP without a banner",
            "timed out after 2 s in waiting for the banner",
            saying(b"220-a\r\n"),
            smtp,
        ),
        case(
            "SMTP banner without end",
            "not an SMTP reply",
            |mut stream| async move { while stream.write_all(b"220-again\r\n").await.is_ok() {} },
            smtp,
        ),
        case(
            "SMTP refuses HELO",
            "SMTP reply 502 \"no\" in waiting for the answer to HELO",
            saying(b"220 hello\r\n502 no\r\n"),
            smtp,
        ),
        case(
            "SMTP closes after the banner",
            "in waiting for the answer to HELO",
            |mut stream| async move {
                send(&mut stream, b"220 hello\r\n").await;
                drop(stream.shutdown().await);
                wait_for_end(&mut stream).await;
            },
            smtp,
        ),
        case("SMTP without farewell", "up", saying(b"220 hello\r\n250 hello\r\n"), smtp),
    ]
}

/// A datagram server that answers each query with what `answer` makes of it.
fn datagram_case(
    name: &'static str,
    words: &'static str,
    answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    probe: impl FnOnce(SocketAddr) -> Probe + Send + 'static,
) -> Case {
    let run = Box::pin(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut query = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                if let Some(answer) = answer(&query[..length]) {
                    drop(socket.send_to(&answer, from).await);
                }
            }
        });
        let outcome = timed(probe(address)).await;
        server.abort();
        outcome
    });
    Case { name, words, run }
}

fn datagram_cases() -> Vec<Case> {
    let dns = |address| {
        Probe::Dns(DnsCheck {
            target: Target::new(address),
            deadlines: deadlines(),
            question: Question::default(),
            expected: None,
        })
    };
    let udp = |reply: Option<WantedReply>| {
        move |address| {
            let payload = UdpCheck::default_payload();
            Probe::Udp(UdpCheck { target: Target::new(address), deadlines: deadlines(), payload, reply })
        }
    };
    let wanted =
        |pattern: &str| Some(WantedReply { pattern: pattern.parse().unwrap(), min_length: 2, max_length: 4 });
    let closed = |probe: fn(SocketAddr) -> Probe| -> Run {
        Box::pin(async move {
            let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            timed(probe(address)).await
        })
    };
    let with_code = |code: u8| {
        move |query: &[u8]| {
            let mut answer = query.to_vec();
            answer[2] |= 0x80;
            answer[3] |= code;
            Some(answer)
        }
    };
    let closed_udp: fn(SocketAddr) -> Probe = |address| {
        let payload = UdpCheck::default_payload();
        Probe::Udp(UdpCheck { target: Target::new(address), deadlines: deadlines(), payload, reply: None })
    };
    vec![
        Case { name: "UDP port closed", words: "connection refused", run: closed(closed_udp) },
        datagram_case("DNS SERVFAIL", "DNS answer SERVFAIL", with_code(2), dns),
        datagram_case("DNS refuses", "DNS answer REFUSED", with_code(5), dns),
        datagram_case("DNS in order", "up", with_code(0), dns),
        datagram_case(
            "DNS echoes the query",
            "not an answer to the query",
            |query| Some(query.to_vec()),
            dns,
        ),
        datagram_case("DNS answer cut short", "malformed DNS answer", |query| Some(query[..7].to_vec()), dns),
        datagram_case(
            "DNS answers another",
            "timed out after 2 s in waiting for the reply",
            |_| Some(b"\0".to_vec()),
            dns,
        ),
        datagram_case(
            "UDP silent",
            "timed out after 2 s in waiting for the reply",
            |_| None,
            udp(wanted("")),
        ),
        datagram_case("UDP silent, nobody cares", "up", |_| None, udp(None)),
        datagram_case(
            "UDP short",
            "reply of 1 bytes, expected 2-4",
            |_| Some(b"a".to_vec()),
            udp(wanted("")),
        ),
        datagram_case(
            "UDP long",
            "reply of 5 bytes, expected 2-4",
            |_| Some(vec![b'a'; 99]),
            udp(wanted("")),
        ),
        datagram_case(
            "UDP other bytes",
            "reply differs from the wanted one at byte 1",
            |_| Some(b"ab".to_vec()),
            udp(wanted("61 63")),
        ),
        datagram_case("UDP in order", "up", |_| Some(b"ab".to_vec()), udp(wanted("6x 62 63"))),
    ]
}

fn agent_cases() -> Vec<Case> {
    let agent = |address| {
        Probe::Agent(AgentCheck { target: Target::new(address), deadlines: deadlines(), send: None })
    };
    let saying = |bytes: &'static [u8]| {
        move |mut stream: TcpStream| async move {
            send(&mut stream, bytes).await;
            drop(stream.shutdown().await);
        }
    };
    vec![
        case(
            "agent silent",
            "no agent: timed out after 2 s",
            |mut stream| async move {
                wait_for_end(&mut stream).await;
            },
            agent,
        ),
        case("agent talks nonsense", "no agent: agent says \"hello\"", saying(b"hello\n"), agent),
        case("agent without line end", "agent says fail: disk full", saying(b"fail # disk full"), agent),
        case(
            "agent without end",
            "no agent",
            |mut stream| async move { while stream.write_all(b"blah ").await.is_ok() {} },
            agent,
        ),
    ]
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// As many descriptors as before, once everything that was aborted has been dropped.
async fn settled(before: usize) -> bool {
    for _ in 0..200 {
        if descriptors() <= before {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[test]
fn every_broken_server_is_found_out_on_time_and_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let before = descriptors();
        let cases = [
            http_cases(),
            tcp_cases(),
            tls_cases(),
            http2_cases(),
            smtp_cases(),
            datagram_cases(),
            agent_cases(),
        ];
        let mut running = JoinSet::new();
        for Case { name, words, run } in cases.into_iter().flatten() {
            running.spawn(async move { (name, words, run.await) });
        }
        assert!(running.len() > 60);
        let mut wrong = Vec::new();
        while let Some(done) = running.join_next().await {
            let (name, words, (outcome, took)) = done.unwrap();
            if !outcome.contains(words) || (words == "up") != (outcome == "up") {
                wrong.push(format!("{name}: {outcome:?} instead of {words:?}"));
            }
            // The deadline of an attempt is 4 s; the rest is for a busy machine.
            if took > Duration::from_secs(8) {
                wrong.push(format!("{name}: took {took:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(settled(before).await, "{} descriptors left", descriptors() - before);
    });
}
